//! A connection that is moved in the middle of anything behaves as one that stays: whatever its peer sends, it
//! gets the same answers, and the handler hears the same.

use lineman_wire::framed::Framed;
use lineman_wire::link::Codec;
use lineman_wire::raw::Raw;
use lineman_wire::websocket::{
    Decoder, Encoder, Event as Frame, Extensions, Limits as Sizes, Message, Pool, Role,
    encode_message,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::record::{accepted, echo, moved, settled};
use super::websockets::REQUEST;
use super::*;
use crate::connection::CannotMove;
use crate::connection::life::State;
use crate::connection::websocket::{Deflate, Options};

/// What is said, in pieces; it moves behind each.
#[derive(Debug, Clone)]
struct Speech {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
}

fn speech(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Speech> {
    (bytes, vec(any::<prop::sample::Index>(), 0..6)).prop_map(|(bytes, cuts)| {
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        Speech { bytes, cuts }
    })
}

/// Says everything to a new connection; returns what it answers and what its handler has heard.
fn said<D: Driver<Inbound: Into<D::Outbound>>>(
    make: impl Fn() -> D + 'static,
    front: &Front,
    speech: &Speech,
    moves: bool,
) -> (Vec<u8>, Vec<String>) {
    let mut outcome = (Vec::new(), Vec::new());
    with_table(async |table| {
        let log = Log::default();
        let serve = Rc::new(Serve::peers(make, echo(&log)).front(front.clone()));
        let (mut peer, mut connection) = accepted(&table, &serve).await;
        let mut from = 0;
        for &cut in &speech.cuts {
            let piece = &speech.bytes[from..cut];
            from = cut;
            // It may have ended already, as on the other run.
            peer.write_all(piece).await.ok();
            settled(&table).await;
            if moves && connection.entry().life.state() != State::Closed {
                connection = match moved(&table, &serve, &connection) {
                    Ok(connection) => connection,
                    Err(CannotMove("it is within a compressed message")) => connection,
                    Err(error) => panic!("{error}"),
                };
            }
        }
        peer.shutdown().await.ok();
        let mut answers = Vec::new();
        peer.read_to_end(&mut answers).await.ok();
        table.emptied().await;
        outcome = (answers, log.lines());
    });
    outcome
}

fn stays_or_moves<D: Driver<Inbound: Into<D::Outbound>>>(
    make: impl Fn() -> D + Clone + 'static,
    front: &Front,
    speech: &Speech,
) {
    let stayed = said(make.clone(), front, speech, false);
    assert_eq!(said(make, front, speech, true), stayed);
}

/// Frames of a client behind its request; some of their bytes may be wrong.
fn frames(deflate: Option<Deflate>) -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
        "[a-c ]{0,600}".prop_map(|text| Message::Text(text.into())),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Message::Binary(bytes.into())),
    ];
    (vec((message, any::<bool>()), 0..8), any::<Option<prop::sample::Index>>()).prop_map(
        move |(messages, wrong)| {
            let mut bytes = BytesMut::new();
            let (mut encoder, mut pool) = (deflate.map(client_encoder), Pool::new());
            for (message, plain) in &messages {
                match (&mut encoder, deflate) {
                    (Some(encoder), Some(deflate)) if !plain => {
                        encoder.encode(
                            message,
                            Some([1, 2, 3, 4]),
                            &deflate,
                            &mut pool,
                            &mut bytes,
                        );
                    }
                    _ => encode_message(message, Some([9, 0, 7, 255]), &mut bytes),
                }
            }
            if let Some(wrong) = wrong
                && !bytes.is_empty()
            {
                let at = wrong.index(bytes.len());
                bytes[at] ^= 0x41;
            }
            [request(deflate).as_bytes(), &bytes].concat()
        },
    )
}

fn request(deflate: Option<Deflate>) -> String {
    let header = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let end = if deflate.is_some() { format!("\r\n{header}") } else { "\r\n\r\n".to_owned() };
    REQUEST.replace("\r\n\r\n", &end)
}

/// As a client deflates to which the server has granted that.
fn client_encoder(deflate: Deflate) -> Encoder {
    Encoder::new(Role::Client, agreed(deflate))
}

/// What the server agrees on: windows of 15 bits, and what it grants.
fn agreed(deflate: Deflate) -> Extensions {
    let takeover = if deflate == CONTEXT { 3 } else { 0 };
    Extensions::from_saved([0x88, takeover]).expect("extensions")
}

/// A server that compresses from the first byte on.
fn compressing(deflate: Deflate) -> impl Fn() -> WebSocket + Clone + 'static {
    move || WebSocket::server_with(Options::new().compression(deflate))()
}

const ALONE: Deflate = Deflate::new().min_size(1);
const CONTEXT: Deflate = ALONE.server_context_takeover().client_context_takeover();

fn framed() -> impl Strategy<Value = Vec<u8>> {
    vec((0_u8..9, vec(any::<u8>(), 4)), 0..9).prop_map(|frames| {
        let bytes = |(length, bytes): (u8, Vec<u8>)| [vec![0, 0, 0, length], bytes].concat();
        frames.into_iter().flat_map(bytes).collect()
    })
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    use lineman_wire::link::{Event as OfLink, Packet};
    vec((1..5_usize, any::<bool>()), 0..9).prop_map(|packets| {
        let bytes = |(count, cut): (usize, bool)| {
            let bytes = Packet::from(OfLink::Ping).to_bytes().repeat(count);
            bytes[usize::from(cut)..].to_vec()
        };
        packets.into_iter().flat_map(bytes).collect()
    })
}

fn behind_a_header() -> impl Strategy<Value = Vec<u8>> {
    let header =
        prop_oneof![Just("PROXY TCP4 192.0.2.9 192.0.2.1 4000 80\r\n"), Just("PROXY TCP4 x\r\n"),];
    (header, frames(None)).prop_map(|(header, frames)| [header.as_bytes(), &frames].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn lines(speech in speech("([a-z]{0,9}\n|[^\n]{0,3})*".prop_map(String::into_bytes))) {
        stays_or_moves(Text::default, &Front::default(), &speech);
    }

    #[test]
    fn frames_with_their_length(speech in speech(framed())) {
        stays_or_moves(Framed::default, &Front::default(), &speech);
    }

    #[test]
    fn packets_of_a_link(speech in speech(packets())) {
        stays_or_moves(|| Codec::until_login(1000), &Front::default(), &speech);
    }

    #[test]
    fn bytes(speech in speech(vec(any::<u8>(), 0..2000))) {
        stays_or_moves(|| Raw, &Front::default(), &speech);
    }

    #[test]
    fn websockets(speech in speech(frames(None))) {
        stays_or_moves(WebSocket::server, &Front::default(), &speech);
    }

    #[test]
    fn websockets_that_compress_each_message_alone(speech in speech(frames(Some(ALONE)))) {
        stays_or_moves(compressing(ALONE), &Front::default(), &speech);
    }

    #[test]
    fn websockets_behind_a_header_of_a_proxy(speech in speech(behind_a_header())) {
        stays_or_moves(WebSocket::server, &proxies::front(proxies::trusted("127.0.0.0/8").proxy_protocol()), &speech);
    }
}

/// What a server deflates with its context differs behind a move, as its deflater has begun anew: what is the
/// same is what it says.
#[test]
fn a_websocket_that_takes_its_context_over_moves_between_messages() {
    with_table(async |table| {
        let log = Log::default();
        let serve = Rc::new(Serve::peers(compressing(CONTEXT), echo(&log)));
        let (mut peer, mut connection) = accepted(&table, &serve).await;
        say(&mut peer, request(Some(CONTEXT))).await;
        let mut input = BytesMut::new();
        while !input.ends_with(b"\r\n\r\n") {
            assert_ne!(peer.read_buf(&mut input).await.expect("an answer"), 0);
        }
        input.clear();
        let (mut encoder, mut pool) = (client_encoder(CONTEXT), Pool::new());
        let mut decoder = Decoder::with_extensions(Role::Client, agreed(CONTEXT));
        for round in 0..5 {
            for size in [20, 700, 40_000] {
                let text = format!("{round} of the same words. ").repeat(size / 20);
                let (message, mut bytes) = (Message::from(text), BytesMut::new());
                encoder.encode(&message, Some([1, 2, 3, 4]), &CONTEXT, &mut pool, &mut bytes);
                say(&mut peer, bytes).await;
                let answer = loop {
                    let found = decoder.decode(&mut input, &Sizes::default());
                    if let Some(frame) = found.expect("a sane server") {
                        break frame;
                    }
                    assert_ne!(peer.read_buf(&mut input).await.expect("an answer"), 0);
                };
                assert_eq!(answer, Frame::Message(message));
            }
            settled(&table).await;
            connection = moved(&table, &serve, &connection).expect("it moves");
        }
        assert_eq!(connection.counters().messages_in, 15);
    });
}
