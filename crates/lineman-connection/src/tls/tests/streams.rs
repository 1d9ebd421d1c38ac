//! The asynchronous stream, over tokio's in-memory pipe.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::tls::{Parts, Stream};

fn stream(io: DuplexStream, session: Session) -> Stream<DuplexStream> {
    let empty = BytesMut::new;
    Stream::new(Parts { io, session, undecrypted: empty(), unread: empty(), unsent: empty() })
}

fn streams(size: usize) -> (Stream<DuplexStream>, Stream<DuplexStream>) {
    let files = Files::new();
    let acceptor = Acceptor::new(&files.tls("server"), &from_master()).unwrap();
    let connector = Connector::new(&files.client_tls()).unwrap();
    let (near, far) = duplex(size);
    (stream(near, connector.session("localhost").unwrap()), stream(far, acceptor.session()))
}

#[tokio::test]
async fn data_goes_both_ways_through_a_narrow_pipe() {
    let (mut client, mut server) = streams(100);
    let data: Vec<u8> = (0..=u8::MAX).cycle().take(200_000).collect();
    let sent = data.clone();
    let echo = async {
        let mut received = vec![0; sent.len()];
        server.read_exact(&mut received).await.unwrap();
        assert_eq!(received, sent);
        server.write_all(&received).await.unwrap();
        server.shutdown().await.unwrap();
        server
    };
    let ask = async {
        client.handshake().await.unwrap();
        client.write_all(&data).await.unwrap();
        client.flush().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, data);
    };
    tokio::join!(echo, ask);
}

#[tokio::test]
async fn it_can_be_taken_apart_and_put_together() {
    let (mut client, mut server) = streams(4096);
    let (ours, theirs) = tokio::join!(client.handshake(), server.handshake());
    ours.and(theirs).unwrap();
    assert!(server.session().is_established());
    client.write_all(b"hello world").await.unwrap();
    client.write_all(b"more").await.unwrap();
    client.flush().await.unwrap();
    let mut five = [0; 5];
    server.read_exact(&mut five).await.unwrap();
    assert_eq!(&five, b"hello");
    server.write_all(b"unsent").await.unwrap();
    let parts = server.into_parts();
    assert!(parts.unread.starts_with(b" world"));
    let mut server = Stream::new(parts);
    server.flush().await.unwrap();
    let mut rest = [0; 10];
    server.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b" worldmore");
    let mut six = [0; 6];
    client.read_exact(&mut six).await.unwrap();
    assert_eq!(&six, b"unsent");
}

#[tokio::test]
async fn undecrypted_bytes_are_read_first() {
    let (mut client, mut server) = pair(tls13());
    client.send(b"came before");
    let undecrypted = BytesMut::from(&client.take()[..]);
    let session = std::mem::replace(&mut server.our().session, Session::failed());
    let (near, far) = duplex(1000);
    let empty = BytesMut::new;
    let parts = Parts { io: far, session, undecrypted, unread: empty(), unsent: empty() };
    let mut server = Stream::new(parts);
    let mut data = [0; 11];
    server.read_exact(&mut data).await.unwrap();
    assert_eq!(&data, b"came before");
    // An end without a farewell is no end.
    drop(near);
    let error = server.read(&mut data).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_peer_that_speaks_http_is_an_error() {
    let (mut near, far) = duplex(1000);
    let files = Files::new();
    let acceptor = Acceptor::new(&files.tls("server"), &from_master()).unwrap();
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = stream(far, acceptor.session()).handshake().await.unwrap_err();
    assert!(error.to_string().contains("plain HTTP"), "{error}");
}
