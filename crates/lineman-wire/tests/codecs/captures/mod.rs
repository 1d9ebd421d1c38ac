//! Reads the capture files of `GatewayWorker`'s wire; their format is in the README next to them.

use std::path::PathBuf;

/// One complete message that was on a wire.
#[derive(Debug)]
pub(crate) struct Message {
    /// `R1`, `G2`, `C1`: to the register, to a gateway's inner port, a client to a gateway.
    pub(crate) connection: String,
    /// Was it sent by the side that opened the connection?
    pub(crate) from_opener: bool,
    /// The message, whole.
    pub(crate) bytes: Vec<u8>,
}

/// A file: the connections that were opened, and what went over them.
#[derive(Debug)]
pub(crate) struct Capture {
    /// The file's name without its extension.
    pub(crate) name: String,
    /// Connection and address of the side that opened it.
    pub(crate) opened: Vec<(String, String)>,
    /// The messages in the order of capture.
    pub(crate) messages: Vec<Message>,
}

impl Capture {
    /// The messages of connections of one kind, by their letter.
    pub(crate) fn of_kind(&self, kind: char) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.connection.starts_with(kind))
    }

    /// The packets: everything on the links of businesses, and the queries on other ones.
    pub(crate) fn packets(&self) -> impl Iterator<Item = &Message> {
        self.of_kind('G').filter(|message| message.from_opener || self.is_link(&message.connection))
    }

    /// The answers on query connections.
    pub(crate) fn replies(&self) -> impl Iterator<Item = &Message> {
        self.of_kind('G')
            .filter(|message| !(message.from_opener || self.is_link(&message.connection)))
    }

    fn is_link(&self, connection: &str) -> bool {
        let first = self.messages.iter().find(|m| m.connection == connection && m.from_opener);
        first.is_some_and(|message| message.bytes[4] == 200)
    }
}

/// Reads all files.
pub(crate) fn all() -> Vec<Capture> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gatewayworker");
    #[expect(clippy::disallowed_methods, reason = "it is the library that does no I/O")]
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the captures' folder is there")
        .map(|file| file.expect("the folder can be listed").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let name =
                path.file_stem().expect("it has an extension").to_string_lossy().into_owned();
            #[expect(clippy::disallowed_methods, reason = "as above")]
            parse(name, &std::fs::read(path).expect("a capture is a file"))
        })
        .collect()
}

fn parse(name: String, file: &[u8]) -> Capture {
    let mut capture = Capture { name, opened: Vec::new(), messages: Vec::new() };
    for line in String::from_utf8_lossy(file).lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[..] {
            ["O", _, connection, from, "->", _] => {
                capture.opened.push((connection.to_owned(), from.to_owned()));
            }
            ["M", _, connection, direction, hex] => capture.messages.push(Message {
                connection: connection.to_owned(),
                from_opener: direction == ">",
                bytes: unhex(hex),
            }),
            _ => {}
        }
    }
    capture
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.as_bytes().chunks(2).map(byte).collect::<Option<_>>();
    bytes.expect("messages are written in hex")
}
