//! TLS that a peer may begin with and need not, as on the links of a cluster.

use super::*;
use crate::tls::MutualTls;
use crate::tls::tests::Files;

fn links(table: &Table, tls: Option<Rc<MutualTls>>, log: &Log) -> SocketAddr {
    let handlers = Handlers {
        message: Some(messages(async |connection: Connection<Text>, line: String| {
            let version =
                connection.tls().map_or("plain".to_owned(), |tls| tls.version().to_string());
            connection.send(format!("{version} {line}"))
        })),
        ..echoing(log)
    };
    serve(table, Serve::links(Text::default, Rc::new(handlers)).offered_tls(tls))
}

/// Connects, says a line, and takes down what it hears, and how that ends.
fn dial(table: &Table, address: SocketAddr, tls: Option<Rc<MutualTls>>, log: &Log) {
    let heard = log.clone();
    let handlers = Handlers {
        connect: Some(boxed(async |connection: Connection<Text>| connection.send("hello"))),
        message: Some(messages(async move |connection: Connection<Text>, line: String| {
            heard.add(format!("heard {line}"));
            connection.close(CloseReason::Local);
            Ok(())
        })),
        ..echoing(log)
    };
    let serve = Serve::links(Text::default, Rc::new(handlers)).begins_tls(tls);
    table.connect(address, &Rc::new(serve)).expect("a socket");
}

#[test]
fn a_port_takes_both() {
    with_table(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let tls = Rc::new(files.mutual());
        let address = links(&table, Some(Rc::clone(&tls)), &Log::default());
        dial(&table, address, None, &log);
        log.until("heard plain hello").await;
        dial(&table, address, Some(tls), &log);
        log.until("heard TLS 1.3 hello").await;
        assert_eq!(table.stats().protocol_errors, 0);
    });
}

#[test]
fn a_peer_with_tls_is_refused_where_it_is_off_and_both_ends_name_it() {
    with_table(async |table| {
        let (files, theirs, ours) = (Files::new(), Log::default(), Log::default());
        let address = links(&table, None, &theirs);
        dial(&table, address, Some(Rc::new(files.mutual())), &ours);
        theirs.until("TLS: the peer begins with TLS, which is off here").await;
        ours.until("TLS: the peer ended the connection in the handshake").await;
        dial(&table, address, None, &ours);
        ours.until("heard plain hello").await;
    });
}

#[test]
fn a_peer_without_tls_cannot_be_the_server_of_one_with_it() {
    with_table(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let address = serve(&table, Serve::links(Text::default, Rc::new(echoing(&Log::default()))));
        dial(&table, address, Some(Rc::new(files.mutual())), &log);
        let mut plain = connect(address).await;
        say(&mut plain, "still there\n").await;
        hear(&mut plain, "still there\n").await;
        assert_eq!(log.lines(), [""; 0], "it waits for a handshake, up to its deadline");
    });
}

#[test]
fn nonsense_behind_the_first_byte_ends_that_connection_alone() {
    with_table(async |table| {
        let (files, log) = (Files::new(), Log::default());
        let tls = Rc::new(files.mutual());
        let address = links(&table, Some(Rc::clone(&tls)), &log);
        for nonsense in [
            &b"\x16\x03\x01\xff\xffgarbage"[..],
            b"\x16hello\n",
            b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        ] {
            let mut peer = connect(address).await;
            say(&mut peer, nonsense).await;
            rest(&mut peer).await;
        }
        log.until("TLS: ").await;
        // The byte means nothing behind a first message.
        let mut plain = connect(address).await;
        say(&mut plain, "one\n\x16two\n").await;
        hear(&mut plain, "plain one\nplain \x16two\n").await;
        // One that says nothing more is let go with its connection.
        let mut half = connect(address).await;
        say(&mut half, b"\x16").await;
        drop(half);
        dial(&table, address, Some(tls), &log);
        log.until("heard TLS 1.3 hello").await;
        let ends = log.lines();
        assert!(ends.iter().filter(|line| line.starts_with("TLS: ")).count() == 3, "{ends:?}");
    });
}
