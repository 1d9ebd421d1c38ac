//! Version 2 (2.2): a binary header with its length, addresses, and fields of type, length and value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc::{CRC_32_ISCSI, Crc};

use super::{Addresses, Error, Header, MAX_SIZE, Ssl, of_one_family};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// How long a path of a Unix socket is, padding included.
const PATH: usize = 108;

const AUTHORITY: u8 = 0x02;
const CHECKSUM: u8 = 0x03;
const SSL: u8 = 0x20;
const SSL_COMMON_NAME: u8 = 0x22;

/// Bits of the first byte of `PP2_TYPE_SSL`.
const CLIENT_TLS: u8 = 0x01;
const CLIENT_CERTIFICATE: u8 = 0x02 | 0x04;

/// The checksum of SCTP (RFC 4960, appendix B), which 2.2.4 names.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Reads the header that `input`, which begins as a header does, begins with; returns its size as well.
pub(super) fn read(input: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let Some((fixed, _)) = input.split_first_chunk::<FIXED>() else { return Ok(None) };
    let [.., version_and_command, family, high, low] = *fixed;
    let size = FIXED + usize::from(u16::from_be_bytes([high, low]));
    let command = match version_and_command {
        0x20 | 0x21 => version_and_command & 0x0f,
        _ => return Err(Error::Binary("version is not 2, or the command is unknown")),
    };
    if size > MAX_SIZE {
        return Err(Error::TooLarge(size));
    }
    let Some(whole) = input.get(..size) else { return Ok(None) };
    let header = match (command, family) {
        (0, _) => Header::new(Addresses::Local),
        // What follows an unspecified family has no known length: nothing behind it can be read.
        (_, 0x00) => Header::new(Addresses::Unknown),
        _ => content(family, whole)?,
    };
    Ok(Some((header, size)))
}

fn content(family: u8, whole: &[u8]) -> Result<Header, Error> {
    let mut rest = whole.get(FIXED..).unwrap_or_default();
    let short = |_| Error::Binary("its length is too short for its addresses");
    let mut ip = |v4| -> Result<IpAddr, Error> {
        if v4 {
            return Ok(Ipv4Addr::from(rest.try_get_u32().map_err(short)?).into());
        }
        Ok(Ipv6Addr::from(rest.try_get_u128().map_err(short)?).into())
    };
    let addresses = match family {
        0x11 | 0x12 | 0x21 | 0x22 => {
            let v4 = family < 0x20;
            let (source, destination) = (ip(v4)?, ip(v4)?);
            let source = SocketAddr::new(source, rest.try_get_u16().map_err(short)?);
            let destination = SocketAddr::new(destination, rest.try_get_u16().map_err(short)?);
            Addresses::Inet { source, destination }
        }
        0x31 | 0x32 => Addresses::Unix { source: path(&mut rest)?, destination: path(&mut rest)? },
        _ => return Err(Error::Binary("its family is unknown")),
    };
    let mut header = Header::new(addresses);
    while !rest.is_empty() {
        let (kind, value) = field(&mut rest)?;
        match kind {
            AUTHORITY => header.authority = Some(text(value)?),
            SSL => header.ssl = Some(ssl(value)?),
            CHECKSUM => verify(whole, value)?,
            _ => {}
        }
    }
    Ok(header)
}

fn path(rest: &mut &[u8]) -> Result<Bytes, Error> {
    let (path, behind) = rest
        .split_at_checked(PATH)
        .ok_or(Error::Binary("its length is too short for its addresses"))?;
    *rest = behind;
    // A name that begins with a zero is of Linux's abstract namespace: only what ends it is padding.
    let end = path.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Ok(Bytes::copy_from_slice(path.get(..end).unwrap_or_default()))
}

/// Takes a field off the front: its type and its value.
fn field<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), Error> {
    let torn = Error::Binary("a field is longer than the header");
    let Some(([kind, high, low], behind)) = rest.split_first_chunk() else { return Err(torn) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, behind) = behind.split_at_checked(length).ok_or(torn)?;
    *rest = behind;
    Ok((*kind, value))
}

fn text(value: &[u8]) -> Result<String, Error> {
    let text = std::str::from_utf8(value).map_err(|_| Error::Binary("a name is not utf-8"))?;
    Ok(text.to_owned())
}

fn ssl(mut value: &[u8]) -> Result<Ssl, Error> {
    let short = |_| Error::Binary("its tls field is too short");
    let client = value.try_get_u8().map_err(short)?;
    let verify = value.try_get_u32().map_err(short)?;
    let certificate = client & CLIENT_CERTIFICATE != 0;
    let mut ssl = Ssl {
        tls: client & CLIENT_TLS != 0,
        certificate,
        // Zero is "verified"; without a certificate there was nothing to verify.
        verified: certificate && verify == 0,
        common_name: None,
    };
    while !value.is_empty() {
        if let (SSL_COMMON_NAME, name) = field(&mut value)? {
            ssl.common_name = Some(text(name)?);
        }
    }
    Ok(ssl)
}

/// Compares the checksum of the whole header, taken with zeros in the place of `value`, a part of it.
fn verify(whole: &[u8], value: &[u8]) -> Result<(), Error> {
    let Ok(stated) = <[u8; 4]>::try_from(value) else {
        return Err(Error::Binary("its checksum has not four bytes"));
    };
    let at = (value.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    let mut digest = CRC.digest();
    digest.update(whole.get(..at).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(whole.get(at + 4..).unwrap_or_default());
    if digest.finalize() == u32::from_be_bytes(stated) { Ok(()) } else { Err(Error::Checksum) }
}

pub(super) fn write(header: &Header, output: &mut BytesMut) -> Result<(), Error> {
    let mut body = BytesMut::new();
    let (command, family) = match &header.addresses {
        Addresses::Local => (0x20, 0x00),
        Addresses::Unknown => (0x21, 0x00),
        Addresses::Inet { source, destination } => {
            let (source, destination) = of_one_family(*source, *destination);
            for address in [source, destination] {
                match address.ip() {
                    IpAddr::V4(ip) => body.put_slice(&ip.octets()),
                    IpAddr::V6(ip) => body.put_slice(&ip.octets()),
                }
            }
            body.put_u16(source.port());
            body.put_u16(destination.port());
            (0x21, if source.is_ipv4() { 0x11 } else { 0x21 })
        }
        Addresses::Unix { source, destination } => {
            for path in [source, destination] {
                let padding = PATH.checked_sub(path.len()).ok_or(Error::TooLong("a path"))?;
                body.put_slice(path);
                body.put_bytes(0, padding);
            }
            (0x21, 0x31)
        }
    };
    if family != 0 {
        write_fields(header, &mut body)?;
    }
    if FIXED + body.len() > MAX_SIZE {
        return Err(Error::TooLong("a name"));
    }
    let length = u16::try_from(body.len()).map_err(|_| Error::TooLong("a name"))?;
    output.put_slice(SIGNATURE);
    output.put_slice(&[command, family]);
    output.put_u16(length);
    output.put_slice(&body);
    Ok(())
}

fn write_fields(header: &Header, body: &mut BytesMut) -> Result<(), Error> {
    if let Some(authority) = &header.authority {
        write_field(AUTHORITY, authority.as_bytes(), body)?;
    }
    if let Some(ssl) = &header.ssl {
        let mut value = BytesMut::new();
        let client = if ssl.tls { CLIENT_TLS } else { 0 };
        value.put_u8(client | if ssl.certificate { 0x02 } else { 0 });
        value.put_u32(u32::from(!ssl.verified));
        if let Some(name) = &ssl.common_name {
            write_field(SSL_COMMON_NAME, name.as_bytes(), &mut value)?;
        }
        write_field(SSL, &value, body)?;
    }
    Ok(())
}

fn write_field(kind: u8, value: &[u8], output: &mut BytesMut) -> Result<(), Error> {
    let length = u16::try_from(value.len()).map_err(|_| Error::TooLong("a name"))?;
    output.put_u8(kind);
    output.put_u16(length);
    output.put_slice(value);
    Ok(())
}
