//! The address of a client behind HTTP proxies: `X-Forwarded-For`, and `Forwarded` (RFC 7239).
//!
//! Each proxy appends the peer that it saw, so trust goes from right to left, and so does the
//! reading: what a client made up stands left of what a trusted proxy wrote, and cannot change how
//! that is read, not even with a quote that never ends. Which header is believed is the caller's
//! decision; a proxy that sets one of them passes on the other as the client gave it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Returns the client's address from the values of all `X-Forwarded-For` lines, in their order.
///
/// Beginning with `peer`, the address of the socket, as long as `is_trusted` says that an address is
/// a proxy's of our own, the one that it names is looked at; the first which is not trusted is the
/// client's. A name that is no address (`unknown`, garbage) ends the walk, and the last
/// proxy's address is the answer. IPv4 addresses in IPv6 form are taken as IPv4.
///
/// ```
/// use std::net::IpAddr;
/// use lineman_wire::forwarded::x_forwarded_for;
///
/// let peer: IpAddr = "10.0.0.1".parse()?;
/// let is_trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
/// let lines = ["6.6.6.6, 203.0.113.9, 10.0.0.2"];
/// assert_eq!(x_forwarded_for(peer, lines, is_trusted).to_string(), "203.0.113.9");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn x_forwarded_for<'v>(
    peer: IpAddr,
    lines: impl IntoIterator<Item = &'v str>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let lines: Vec<&str> = lines.into_iter().collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(',')).map(str::trim);
    walk(peer, hops.filter(|hop| !hop.is_empty()).map(address), is_trusted)
}

/// Returns the client's address from the values of all `Forwarded` lines, in their order.
///
/// As [`x_forwarded_for`]. An element without `for`, or with an obfuscated identifier (`for=_abc`),
/// ends the walk.
pub fn forwarded<'v>(
    peer: IpAddr,
    lines: impl IntoIterator<Item = &'v str>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let lines: Vec<&str> = lines.into_iter().collect();
    let elements = lines.iter().rev().flat_map(|line| Elements { rest: Some(line) });
    walk(peer, elements.filter(|element| !element.is_empty()).map(node), is_trusted)
}

/// Returns the text of a header line. Of one that is no UTF-8 it is the members of its list, with `unknown`
/// for those that are none: what a client made up must not hide what a proxy appended to it.
pub fn texts(line: &[u8]) -> Vec<&str> {
    if let Ok(text) = std::str::from_utf8(line) {
        return vec![text];
    }
    let members = line.split(|byte| *byte == b',');
    members.map(|member| std::str::from_utf8(member).unwrap_or("unknown")).collect()
}

fn walk(
    peer: IpAddr,
    mut hops: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut known = peer.to_canonical();
    while is_trusted(known) {
        match hops.next() {
            Some(Some(hop)) => known = hop.to_canonical(),
            Some(None) | None => break,
        }
    }
    known
}

/// Reads `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bracketed {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<SocketAddr>().ok().map(|address| address.ip()),
    }
}

/// The elements of one line, the last one first.
struct Elements<'v> {
    rest: Option<&'v str>,
}

impl<'v> Iterator for Elements<'v> {
    type Item = &'v str;

    fn next(&mut self) -> Option<&'v str> {
        let rest = self.rest?;
        let comma = last_outside_quotes(rest, b',');
        let (before, element) = match comma {
            Some(at) => (rest.get(..at), rest.get(at + 1..)),
            None => (None, Some(rest)),
        };
        self.rest = before;
        element.map(str::trim)
    }
}

/// Returns where `wanted` stands for the last time outside of quoted strings (RFC 9110, 5.6.4).
///
/// Read backwards a quoted string begins with any quote, and ends with the first one that has an even
/// number of backslashes before it.
fn last_outside_quotes(text: &str, wanted: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quoted = false;
    let mut at = bytes.len();
    while let Some(next) = at.checked_sub(1) {
        at = next;
        match bytes.get(at) {
            Some(b'"') if quoted => {
                let before = bytes.get(..at).unwrap_or_default();
                let escapes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
                quoted = escapes % 2 == 1;
                at -= escapes;
            }
            Some(b'"') => quoted = true,
            Some(byte) if !quoted && *byte == wanted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Returns the address in the `for` parameter of an element (RFC 7239, 4 and 6).
fn node(element: &str) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(text) = rest {
        let cut = last_outside_quotes(text, b';');
        let pair = text.get(cut.map_or(0, |at| at + 1)..)?;
        rest = cut.and_then(|at| text.get(..at));
        let (name, value) = pair.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") {
            // It may occur once only: two of them are two answers.
            if found.is_some() {
                return None;
            }
            found = Some(unquote(value.trim())?);
        }
    }
    let found = found?;
    // An IPv6 address has its brackets here, and a port may be a made-up name (section 6).
    if found.parse::<Ipv6Addr>().is_ok() {
        return None;
    }
    match found.rsplit_once(":_") {
        Some((name, _)) => address(name),
        None => address(&found),
    }
}

fn unquote(value: &str) -> Option<String> {
    let Some(inside) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let mut plain = String::new();
    let mut characters = inside.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(plain),
            '\\' => plain.push(characters.next()?),
            other => plain.push(other),
        }
    }
}
