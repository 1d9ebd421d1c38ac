//! A service for each protocol and transport that is asked for, all of them echoing.
//!
//! `LISTEN` holds words `name=address`; the name is the service's and says what it speaks: `text`,
//! `framed` or `shout`, a protocol of our own, with `udp-` before it for datagrams. `MODE` is the mode
//! of Unix sockets, in octal; `COUNT` is how many processes each service has (2).

use lineman::prelude::*;
use lineman::service::SocketOptions;

/// Messages that end in `!`.
struct Shout;

impl Protocol for Shout {
    type Inbound = Bytes;
    type Outbound = Bytes;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>> {
        let end = buffer.iter().position(|&byte| byte == b'!');
        Ok(end.map(|end| buffer.split_to(end + 1).freeze()))
    }

    fn encode(&mut self, message: Bytes, buffer: &mut BytesMut) -> Result {
        buffer.extend_from_slice(&message);
        Ok(())
    }
}

fn main() -> Result {
    let mut options = SocketOptions::new();
    if let Ok(mode) = std::env::var("MODE") {
        options = options.mode(u32::from_str_radix(&mode, 8)?);
    }
    let count = std::env::var("COUNT").map_or(Ok(2), |count| count.parse())?;
    let mut app = App::new().name("transports");
    for word in std::env::var("LISTEN")?.split_whitespace() {
        let (name, address) = word.split_once('=').ok_or("name=address")?;
        let options = options.clone();
        macro_rules! add {
            ($worker:expr) => {{
                let worker = $worker.name(name).count(count).socket_options(options);
                app.service(worker.on_message(async |peer, message| peer.send(message)))
            }};
        }
        app = match name {
            "text" => add!(Worker::text(address)),
            "framed" => add!(Worker::framed(address)),
            "shout" => add!(Worker::tcp(address, || Shout)),
            "udp-text" => add!(Worker::datagrams(address, Text::default)),
            "udp-framed" => add!(Worker::datagrams(address, Framed::default)),
            "udp-shout" => add!(Worker::datagrams(address, || Shout)),
            _ => return Err(format!("what is {name}?").into()),
        };
    }
    app.run()
}
