//! Masking (RFC 6455, 5.3): one XOR, the same in both directions.
//!
//! The decoder and the encoders call it. It never copies; the bytes change where they are.

/// Masks or unmasks `data`, whose first byte meets the mask's first byte.
///
/// Eight bytes at a time, over fixed-size chunks: the form that the compiler turns into vector
/// instructions without any `unsafe`.
pub(crate) fn apply(mask: [u8; 4], data: &mut [u8]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// Returns the mask for what follows `consumed` bytes of the same frame.
pub(crate) fn rotate(mut mask: [u8; 4], consumed: usize) -> [u8; 4] {
    mask.rotate_left(consumed % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_definition_at_every_length_and_offset() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..40_usize {
            for start in 0..9_usize {
                let plain: Vec<u8> = (0_u8..40).take(length).collect();
                let expected: Vec<u8> = plain
                    .iter()
                    .zip(mask.iter().cycle().skip(start))
                    .map(|(byte, key)| byte ^ key)
                    .collect();
                let mut data = plain;
                apply(rotate(mask, start), &mut data);
                assert_eq!(data, expected, "length {length}, offset {start}");
            }
        }
    }
}
