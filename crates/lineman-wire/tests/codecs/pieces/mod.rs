//! Bytes in pieces: what the tests of decoders share.

use bytes::BytesMut;

/// What came of a decoder, if anything did, and the bytes that are left.
pub(crate) type Outcome<T, E> = (Option<Result<T, E>>, Vec<u8>);

/// Feeds `bytes` in pieces of `size` until there is an outcome.
pub(crate) fn in_pieces<T, E>(
    bytes: &[u8],
    size: usize,
    mut step: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>,
) -> Outcome<T, E> {
    let mut input = BytesMut::new();
    let mut rest = bytes;
    while let Some((piece, behind)) = rest.split_at_checked(size.min(rest.len())) {
        input.extend_from_slice(piece);
        rest = behind;
        if let Some(outcome) = step(&mut input).transpose() {
            return (Some(outcome), [&input[..], rest].concat());
        }
        if rest.is_empty() {
            break;
        }
    }
    (None, input.to_vec())
}
