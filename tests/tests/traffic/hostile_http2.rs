//! Peers that mean harm to a server of HTTP/2: each gets the stated answer, and somebody on the same
//! process is served throughout, in bounded memory.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use lineman_tests::certificates::Authority;
use lineman_tests::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, PADDED, PING,
    PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, answered,
    farewells, frame, get, head_of, kept_line, line, post, resets,
};
use lineman_tests::innocent::{BASE_BYTES, served_throughout};
use lineman_tests::programs::{Server, http};

/// Peers of one attack at once.
const CROWD: usize = 3;

/// What one connection may hold while it is attacked: a peer's mebibyte that no service reads, and
/// TLS, hyper's and h2's own.
const CONNECTION_BYTES: u64 = 2 * 1024 * 1024;
const BOUND: u64 = BASE_BYTES + CROWD as u64 * CONNECTION_BYTES;

/// Requests at once (`HttpLimits::streams`), and what is held of the answer of each: a piece that
/// waits, a piece behind it.
const STREAMS: u32 = 100;
const STREAM_BYTES: u64 = 2 * 64 * 1024;

/// More of anything than anybody honest sends at once.
const MANY: u32 = 5000;

/// Codes of `GOAWAY` and `RST_STREAM` (RFC 9113, 7).
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A setting (RFC 9113, 6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A server, and who says that it is itself.
struct Target {
    server: Server,
    authority: Authority,
}

impl Target {
    async fn with(knobs: &[(&str, &str)]) -> Result<Self> {
        let authority = Authority::new().await?;
        let pair = authority.sign("localhost").await?;
        let server = http()?.knob("HTTP_CERTIFICATE", pair.certificate).knob("HTTP_KEY", pair.key);
        let server = knobs.iter().fold(server, |server, (name, value)| server.knob(name, value));
        Ok(Self { server: server.started().await?, authority })
    }

    async fn connect(&self, settings: &[(u16, u32)]) -> Result<Http2> {
        Http2::connect(&self.server.port.address(), &self.authority, settings).await
    }

    /// Runs an attack beside somebody on the same process.
    async fn attacked<T>(&self, attack: impl Future<Output = Result<T>>) -> Result<T> {
        self.attacked_within(BOUND, attack).await
    }

    async fn attacked_within<T>(
        &self,
        bound: u64,
        attack: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut innocent = self.connect(&[]).await?;
        let exchange = async || {
            // Where connections end by themselves somebody honest comes again.
            if innocent.is_greeted().await.is_err() {
                innocent = self.connect(&[]).await?;
                innocent.is_greeted().await?;
            }
            Ok(())
        };
        served_throughout(&self.server.program, "http/0", bound, exchange, attack).await
    }

    /// Has each of a crowd say this, and returns what the server said to each until it closed.
    async fn answers(&self, pieces: &[Vec<u8>]) -> Result<Vec<Vec<Frame>>> {
        try_join_all(
            (0..CROWD)
                .map(async |_| self.connect(&[]).await?.answers(pieces.iter().cloned()).await),
        )
        .await
    }

    /// Has a crowd attack, and expects each to be sent away with this code.
    async fn sends_away(&self, what: &str, code: u32, pieces: &[Vec<u8>]) -> Result<()> {
        for frames in self.answers(pieces).await.with_context(|| what.to_owned())? {
            let codes = farewells(&frames);
            ensure!(codes.last() == Some(&code), "{what}: {codes:?} were the codes");
        }
        Ok(())
    }
}

/// Returns the ids of so many requests, one after the other.
fn ids(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| number * 2 + 1)
}

/// Joins pieces into what fits a record of TLS, so that the server reads many at once.
fn at_once(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let all = pieces.flatten().collect::<Vec<u8>>();
    all.chunks(16 * 1024).map(<[u8]>::to_vec).collect()
}

fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// Waits for the head of the answer to one request.
async fn head(peer: &mut Http2, stream: u32) -> Result<Frame> {
    loop {
        let frame = peer.frame().await?.context("closed before the answer")?;
        if (frame.kind, frame.stream) == (HEADERS, stream) {
            return Ok(frame);
        }
    }
}

/// CVE-2023-44487.
#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() -> Result<()> {
    let target = Target::with(&[]).await?;
    let block = get("/large");
    let pairs = ids(MANY).map(|id| [frame(HEADERS, WHOLE, id, &block), reset(id)].concat());
    let pairs = at_once(pairs);
    target.attacked(target.sends_away("rapid reset", ENHANCE_YOUR_CALM, &pairs)).await
}

/// As above but slower: what is reset was begun, and so counts as a request. This peer never
/// acknowledges a ping, and so the farewell.
#[tokio::test]
async fn requests_that_are_reset_when_they_run_meet_their_bound() -> Result<()> {
    let target = Target::with(&[("HTTP_REQUESTS", "500")]).await?;
    target
        .attacked(async {
            let mut peer = target.connect(&[]).await?;
            let mut answers = 0;
            for id in ids(MANY) {
                if peer.send(&frame(HEADERS, WHOLE, id, &get("/endless"))).await.is_err() {
                    break;
                }
                let farewell = loop {
                    match peer.frame().await? {
                        Some(frame) if frame.kind == HEADERS => break false,
                        None => break true,
                        Some(_) => {}
                    }
                };
                if farewell {
                    break;
                }
                answers += 1;
                // After the last request the server is gone.
                drop(peer.send(&[reset(id), window(0, 65_535)].concat()).await);
            }
            // Those beyond the bound may have been on their way when the server said farewell.
            ensure!(answers == 500 + STREAMS, "{answers} requests were answered");
            Ok(())
        })
        .await
}

/// What it is, how the connection ends, and the frames that provoke it with the request of this id.
type Provocation<'a> = (&'a str, u32, &'a dyn Fn(u32) -> Vec<u8>);

/// CVE-2025-8671: the client breaks rules so that the server resets what it has begun.
#[tokio::test]
async fn resets_that_a_peer_provokes_end_the_connection() -> Result<()> {
    let target = Target::with(&[]).await?;
    let block = get("/endless");
    let whole = |id| frame(HEADERS, WHOLE, id, &block);
    let open = |id| frame(HEADERS, END_HEADERS, id, &block);
    let long = [post("/length"), line("content-length", "1")].concat();
    let itself = |id: u32| [&id.to_be_bytes()[..], &[1]].concat();
    let provocations: [Provocation<'_>; 6] = [
        ("a window of nothing", PROTOCOL_ERROR, &|id| [whole(id), window(id, 0)].concat()),
        ("a window too large", ENHANCE_YOUR_CALM, &|id| {
            [whole(id), window(id, 0x7fff_ffff)].concat()
        }),
        ("a body after its end", PROTOCOL_ERROR, &|id| {
            [whole(id), frame(DATA, 0, id, b"x")].concat()
        }),
        ("a head after its end", PROTOCOL_ERROR, &|id| [whole(id), whole(id)].concat()),
        ("a stream on itself", ENHANCE_YOUR_CALM, &|id| {
            [open(id), frame(PRIORITY, 0, id, &itself(id))].concat()
        }),
        ("a body longer than it says", ENHANCE_YOUR_CALM, &|id| {
            [frame(HEADERS, END_HEADERS, id, &long), frame(DATA, 0, id, b"xx")].concat()
        }),
    ];
    target
        .attacked(async {
            for (what, code, provoke) in &provocations {
                let pieces = at_once(ids(MANY).map(provoke));
                target.sends_away(what, *code, &pieces).await?;
            }
            Ok(())
        })
        .await
}

/// CVE-2024-27316.
#[tokio::test]
async fn heads_without_an_end_meet_a_bound() -> Result<()> {
    let target = Target::with(&[]).await?;
    let begun = frame(HEADERS, END_STREAM, 1, &get("/"));
    let small = line("x", "y");
    let large = line("x", &"y".repeat(16_000));
    target
        .attacked(async {
            for (what, block) in [("empty", &[][..]), ("small", &small), ("large", &large)] {
                let more = (0..MANY).map(|_| frame(CONTINUATION, 0, 1, block));
                let pieces = at_once(std::iter::once(begun.clone()).chain(more));
                target.sends_away(what, ENHANCE_YOUR_CALM, &pieces).await?;
            }
            Ok(())
        })
        .await
}

/// Each of these asks for an answer.
#[tokio::test]
async fn who_reads_no_answers_is_dropped() -> Result<()> {
    let target = Target::with(&[("HTTP_ANSWER_MS", "600")]).await?;
    let asked = frame(HEADERS, WHOLE, 1, &get("/"));
    let floods = [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[7; 8])];
    target
        .attacked(async {
            let crowd = floods.iter().map(async |flood| {
                let mut peer = target.connect(&[]).await?;
                peer.send(&asked).await?;
                peer.flood(&flood.repeat(1000)).await
            });
            try_join_all(crowd).await
        })
        .await?;
    Ok(())
}

/// Each of these asks for none, and costs the server a look.
#[tokio::test]
async fn who_says_much_and_nothing_is_dropped() -> Result<()> {
    let target = Target::with(&[("HTTP_HEAD_MS", "600"), ("HTTP_IDLE_MS", "600")]).await?;
    let after = [0, 0, 0, 0, 255];
    let floods = [
        ("priorities", frame(PRIORITY, 0, 3, &after)),
        ("windows", [window(0, 1), window(0, 1)].concat()),
        ("unknown frames", frame(0xbe, 0, 0, &[])),
        ("acknowledged pings", frame(PING, ACK, 0, &[7; 8])),
    ];
    target
        .attacked(async {
            let asked = frame(HEADERS, WHOLE, 1, &get("/"));
            let crowd = floods.iter().flat_map(|flood| [(flood, &[][..]), (flood, &asked)]);
            let crowd = crowd.map(async |((what, flood), first)| {
                let mut peer = target.connect(&[]).await?;
                peer.send(first).await?;
                peer.flood(&flood.repeat(500)).await.context(*what)
            });
            try_join_all(crowd).await
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn bodies_in_crumbs_end_the_connection() -> Result<()> {
    let target = Target::with(&[]).await?;
    target
        .attacked(async {
            for (what, path) in
                [("a body that is read", "/length"), ("and one that is not", "/endless")]
            {
                for (size, crumb) in [("empty", &b""[..]), ("small", b"x")] {
                    let begun = frame(HEADERS, END_HEADERS, 1, &post(path));
                    let more = (0..100_000).map(|_| frame(DATA, 0, 1, crumb));
                    let pieces = at_once(std::iter::once(begun.clone()).chain(more));
                    target
                        .sends_away(&format!("{what} {size}"), ENHANCE_YOUR_CALM, &pieces)
                        .await?;
                }
            }
            Ok(())
        })
        .await
}

/// A line of 4,000 bytes that the table keeps, and is named again by one byte each.
#[tokio::test]
async fn a_head_that_grows_when_it_is_read_is_bounded() -> Result<()> {
    let target = Target::with(&[]).await?;
    let bomb = |times| [get("/"), kept_line("x", &"y".repeat(4000)), vec![0xbe; times]].concat();
    target
        .attacked(async {
            let mut peer = target.connect(&[]).await?;
            peer.send(&frame(HEADERS, WHOLE, 1, &bomb(4))).await?;
            let answer = head(&mut peer, 1).await?;
            // A literal `:status` (RFC 7541, 6.2.1), and 431 in Huffman's code.
            assert_eq!(
                (answer.flags, &answer.payload[..]),
                (WHOLE, &[0x48, 0x83, 0x69, 0x90, 0xff][..])
            );
            // It costs its own stream: 200 is an entry of the static table.
            peer.send(&frame(HEADERS, WHOLE, 3, &get("/"))).await?;
            assert_eq!(head(&mut peer, 3).await?.payload.first(), Some(&0x88));
            let large = [frame(HEADERS, WHOLE, 1, &bomb(12_000))];
            target.sends_away("a bomb", ENHANCE_YOUR_CALM, &large).await
        })
        .await
}

/// The connection is alive and answers pings; only windows stay shut.
#[tokio::test]
async fn who_takes_nothing_of_many_answers_is_dropped() -> Result<()> {
    let target = Target::with(&[("HTTP_ANSWER_MS", "600")]).await?;
    let bound = BOUND + CROWD as u64 * u64::from(STREAMS) * STREAM_BYTES;
    target
        .attacked_within(bound, async {
            for window in [0, 1] {
                let all = ids(STREAMS).map(|id| frame(HEADERS, WHOLE, id, &get("/endless")));
                let all = all.collect::<Vec<_>>();
                let crowd = (0..CROWD).map(async |_| {
                    let peer = target.connect(&[(INITIAL_WINDOW_SIZE, window)]).await?;
                    peer.answers(all.iter().cloned()).await
                });
                for frames in try_join_all(crowd).await? {
                    assert_eq!(answered(&frames), all.len());
                }
            }
            Ok(())
        })
        .await
}

/// The page is one piece, of which the first byte is taken.
#[tokio::test]
async fn who_takes_a_byte_of_a_page_is_dropped() -> Result<()> {
    let target = Target::with(&[("HTTP_ANSWER_MS", "600")]).await?;
    target
        .attacked(async {
            let peer = target.connect(&[(INITIAL_WINDOW_SIZE, 1)]).await?;
            let frames = peer.answers([frame(HEADERS, WHOLE, 1, &get("/large"))]).await?;
            assert_eq!(answered(&frames), 1);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused() -> Result<()> {
    let target = Target::with(&[("HTTP_ANSWER_MS", "600")]).await?;
    let bound = BOUND + CROWD as u64 * u64::from(STREAMS) * STREAM_BYTES;
    let asked = |count| at_once(ids(count).map(|id| frame(HEADERS, WHOLE, id, &get("/endless"))));
    target
        .attacked_within(bound, async {
            for frames in target.answers(&asked(STREAMS + 50)).await? {
                assert_eq!(answered(&frames), 100);
                assert_eq!(resets(&frames), [REFUSED_STREAM; 50]);
            }
            target.sends_away("thousands at once", ENHANCE_YOUR_CALM, &asked(MANY)).await
        })
        .await
}

/// h2 has one code for most of it, where the RFC names narrower ones; either way it is the end.
#[tokio::test]
async fn frames_that_are_illegal_end_the_connection() -> Result<()> {
    let target = Target::with(&[]).await?;
    let asked = frame(HEADERS, WHOLE, 1, &get("/endless"));
    let block = get("/");
    let whole = |id| frame(HEADERS, WHOLE, id, &block);
    let lengths = [
        ("a frame too long", head_of(0x4001, DATA, 0, 1)),
        ("the longest frame", head_of(0xff_ffff, 0xbe, 0, 0)),
    ];
    let windows = [("too much window", window(0, 0x7fff_ffff))];
    let rest = [
        ("settings of a half", frame(SETTINGS, 0, 0, &[0; 5])),
        ("an acknowledgment that says something", frame(SETTINGS, ACK, 0, &[0; 6])),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        ("a window beyond 2^31", frame(SETTINGS, 0, 0, &[0, 4, 255, 255, 255, 255])),
        ("a ping of seven", frame(PING, 0, 0, &[0; 7])),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8])),
        ("data of nobody", frame(DATA, 0, 0, b"x")),
        ("data of who has not asked", frame(DATA, 0, 3, b"x")),
        ("padding longer than its frame", frame(DATA, PADDED, 1, &[255, 0])),
        ("a head of nobody", whole(0)),
        ("a head of the server's", whole(2)),
        ("a head that goes back", [whole(5), whole(3)].concat()),
        ("a reset of who has not asked", reset(3)),
        ("a reset of three", frame(RST_STREAM, 0, 1, &[0; 3])),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("a window of three", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("no window", window(0, 0)),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &[])),
        ("an interruption", [frame(HEADERS, 0, 3, &[]), frame(PING, 0, 0, &[0; 8])].concat()),
        ("an entry that is not there", frame(HEADERS, WHOLE, 3, &[0xff, 0x80, 0x01])),
        ("an integer without an end", frame(HEADERS, WHOLE, 3, &[0xff; 40])),
        ("a farewell of a stream", frame(GOAWAY, 0, 1, &[0; 8])),
    ];
    let of = |code, illegal: &[(&'static str, Vec<u8>)]| {
        illegal.iter().map(move |(what, frames)| (*what, code, frames.clone())).collect::<Vec<_>>()
    };
    let all = [
        of(FRAME_SIZE_ERROR, &lengths),
        of(FLOW_CONTROL_ERROR, &windows),
        of(PROTOCOL_ERROR, &rest),
    ];
    target
        .attacked(async {
            for (what, code, illegal) in all.into_iter().flatten() {
                target.sends_away(what, code, &[[asked.clone(), illegal].concat()]).await?;
            }
            Ok(())
        })
        .await
}

/// A preface in drops, none at all, and a head that never ends: each has its time.
#[tokio::test]
async fn who_never_gets_to_the_point_is_dropped() -> Result<()> {
    let target = Target::with(&[("HTTP_HEAD_MS", "600"), ("HTTP_IDLE_MS", "600")]).await?;
    let half = frame(HEADERS, END_STREAM, 1, &get("/"));
    let whole = frame(HEADERS, WHOLE, 1, &get("/"));
    let then_half = [whole, frame(HEADERS, END_STREAM, 3, &get("/"))].concat();
    let settings = frame(SETTINGS, 0, 0, &[]);
    let said = [
        ("nothing", vec![]),
        ("a byte", PREFACE[..1].to_vec()),
        ("nearly a preface", PREFACE[..20].to_vec()),
        ("a preface alone", PREFACE.to_vec()),
        ("settings alone", [PREFACE, &settings].concat()),
        ("half a frame", [PREFACE, &settings, &half[..5]].concat()),
        ("half a head", [PREFACE, &settings, &half].concat()),
        ("half a head behind a request", [PREFACE, &settings, &then_half].concat()),
    ];
    target
        .attacked(async {
            let crowd = said.iter().map(async |(what, said)| {
                let address = target.server.port.address();
                let peer = Http2::silent(&address, &target.authority).await?;
                let drops = said.chunks(1).map(<[u8]>::to_vec);
                let frames = peer.answers(drops).await.context(*what)?;
                // Who never got to a frame hears nothing.
                let expected = if said.len() < PREFACE.len() { &[][..] } else { &[NO_ERROR] };
                ensure!(farewells(&frames) == expected, "{what}: {frames:?}");
                anyhow::Ok(())
            });
            try_join_all(crowd).await?;
            Ok(())
        })
        .await
}
