//! Version 1 (2.1): one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Addresses, Error, Header, of_one_family};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// The longest line with its end: `PROXY UNKNOWN`, two IPv6 addresses of 39 characters, two ports.
const MAX_LINE: usize = 107;

/// Reads the line that `input`, which begins as a header does, begins with; returns its size as well.
pub(super) fn read(input: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let window = input.get(..MAX_LINE).unwrap_or(input);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() == MAX_LINE { Err(Error::Line("no end")) } else { Ok(None) };
    };
    let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.ok_or(Error::Line("it does not end with \\r\\n"))?;
    let rest = line.strip_prefix(SIGNATURE).ok_or(Error::Missing)?;
    let addresses = addresses(rest)?;
    Ok(Some((Header::new(addresses), end + 1)))
}

fn addresses(rest: &[u8]) -> Result<Addresses, Error> {
    // Whatever follows `UNKNOWN` is to be ignored.
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(Addresses::Unknown);
    }
    let text = std::str::from_utf8(rest).map_err(|_| Error::Line("not ascii"))?;
    let words: Vec<&str> = text.split(' ').collect();
    let &[family, source, destination, source_port, destination_port] = words.as_slice() else {
        return Err(Error::Line("not five words separated by single spaces"));
    };
    let (source, destination): (IpAddr, IpAddr) = match family {
        "TCP4" => (ip::<Ipv4Addr>(source)?, ip::<Ipv4Addr>(destination)?),
        "TCP6" => (ip::<Ipv6Addr>(source)?, ip::<Ipv6Addr>(destination)?),
        _ => return Err(Error::Line("neither TCP4, TCP6 nor UNKNOWN")),
    };
    Ok(Addresses::Inet {
        source: SocketAddr::new(source, port(source_port)?),
        destination: SocketAddr::new(destination, port(destination_port)?),
    })
}

fn ip<T: FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, Error> {
    word.parse().map(T::into).map_err(|_| Error::Line("an address is not of its family"))
}

fn port(word: &str) -> Result<u16, Error> {
    let wrong = Error::Line("a port is no number from 0 to 65535");
    if !word.bytes().all(|byte| byte.is_ascii_digit()) || word.len() > 1 && word.starts_with('0') {
        return Err(wrong);
    }
    word.parse().map_err(|_| wrong)
}

/// Returns the whole line.
pub(super) fn line(addresses: &Addresses) -> String {
    let Addresses::Inet { source, destination } = addresses else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let (source, destination) = of_one_family(*source, *destination);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
}
