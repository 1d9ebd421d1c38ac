//! The five bytes in front of every record, and where the first record of some bytes ends (RFC 8446
//! section 5.1). Never keeps a byte.

use crate::error::TlsError;

/// Bytes of a record's header.
pub(super) const HEADER: usize = 5;

/// The most plaintext in a record.
pub(super) const PLAIN_LIMIT: usize = 1 << 14;

/// The most a protected record may add to its plaintext: TLS 1.3.
pub(super) const EXPANSION_TLS13: usize = 256;

/// The most a protected record may add to its plaintext: TLS 1.2, and while the version is open.
pub(super) const EXPANSION_TLS12: usize = 2048;

/// The kinds of record.
pub(super) mod kind {
    /// Keys change from here on.
    pub(in crate::tls) const CHANGE_CIPHER_SPEC: u8 = 20;
    /// Something ends, or is wrong.
    pub(in crate::tls) const ALERT: u8 = 21;
    /// A part of the handshake, or one of the few messages that may follow it.
    pub(in crate::tls) const HANDSHAKE: u8 = 22;
    /// What it is all for.
    pub(in crate::tls) const APPLICATION_DATA: u8 = 23;
}

/// Returns the length of the first record, header included, once it is there as a whole.
///
/// # Errors
/// What cannot become a record of at most `limit` bytes is refused at its header.
pub(super) fn whole(input: &[u8], limit: usize) -> Result<Option<usize>, TlsError> {
    if let Some(&first) = input.first()
        && !(kind::CHANGE_CIPHER_SPEC..=kind::APPLICATION_DATA).contains(&first)
    {
        // RFC 8446, 5: an unexpected type of record, and not one that cannot be decoded.
        return Err(TlsError::Unexpected("a record of no known kind"));
    }
    let Some(&[_, major, _, high, low]) = input.first_chunk::<HEADER>() else { return Ok(None) };
    if major != 3 {
        return Err(TlsError::BadVersion("its version is none of TLS"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > limit {
        return Err(TlsError::RecordTooLong { length, limit });
    }
    let total = HEADER + length;
    Ok((input.len() >= total).then_some(total))
}
