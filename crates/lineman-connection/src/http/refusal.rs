//! hyper's own refusal of a request that it cannot read: a status without a word. What is written in its
//! place has the words of our own answers. Called by `socket`, which sees what hyper writes; hyper offers
//! no other place to change it.

use bytes::{BufMut as _, Bytes, BytesMut};

/// What stands in such a head beside the status, and nothing else does.
const LINES: [&[u8]; 3] = [b"connection: ", EMPTY, b"date: "];

const EMPTY: &[u8] = b"content-length: 0";

/// Returns where hyper's refusal begins, if that is what the bytes end with.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    let start = bytes.windows(7).rposition(|window| window == b"HTTP/1.")?;
    let head = bytes.get(start..)?.strip_suffix(b"\r\n\r\n")?;
    let mut lines = lines(head);
    let status = status(lines.next()?)?;
    let is_refusal = status.starts_with(b"4") && lines.clone().any(|line| line == EMPTY);
    let is_bare = lines.all(|line| LINES.iter().any(|start| line.starts_with(start)));
    (is_refusal && is_bare).then_some(start)
}

/// Returns the refusal with its status as its text.
pub(super) fn with_text(refusal: &[u8]) -> Bytes {
    let mut told = BytesMut::new();
    let head = refusal.strip_suffix(b"\r\n\r\n").unwrap_or(refusal);
    let status = lines(head).next().and_then(status).unwrap_or_default();
    for line in lines(head) {
        if line == EMPTY {
            let length = status.len() + 1;
            told.put(&b"content-type: text/plain; charset=utf-8\r\n"[..]);
            told.put(format!("content-length: {length}").as_bytes());
        } else {
            told.put(line);
        }
        told.put(&b"\r\n"[..]);
    }
    told.put(&b"\r\n"[..]);
    told.put(status);
    told.put_u8(b'\n');
    told.freeze()
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Returns the status and its name.
fn status(line: &[u8]) -> Option<&[u8]> {
    line.get(b"HTTP/1.1 ".len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
        date: Sat, 28 Nov 2026 18:00:00 GMT\r\n\r\n";

    #[test]
    fn a_refusal_is_found_behind_another_answer_and_gets_its_words() {
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        let both = [before, BARE].concat();
        assert_eq!(find(both.as_bytes()), Some(before.len()));
        let told = with_text(BARE.as_bytes());
        assert_eq!(
            String::from_utf8_lossy(&told),
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
            content-type: text/plain; charset=utf-8\r\ncontent-length: 16\r\n\
            date: Sat, 28 Nov 2026 18:00:00 GMT\r\n\r\n400 Bad Request\n"
        );
    }

    #[test]
    fn other_answers_are_none() {
        let fine = BARE.replace("400 Bad Request", "200 OK");
        let others = [
            &fine[..],
            &BARE.replace("content-length: 0", "content-length: 5"),
            &BARE.replace("date", "x-own"),
            &BARE[..BARE.len() - 1],
            &[BARE, "x"].concat(),
            "",
        ];
        for other in others {
            assert_eq!(find(other.as_bytes()), None, "{other}");
        }
    }
}
