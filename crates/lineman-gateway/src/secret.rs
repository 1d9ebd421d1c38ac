//! Comparing the cluster's key, in a time that does not depend on how much of a guess is right.
//!
//! Called by the register and by the gateway's links. The key itself is
//! [`lineman_wire::link::Secret`], which no log can show.

use lineman_wire::link::Secret;
use subtle::ConstantTimeEq;

/// Returns whether a peer's key is ours. Without a key on our side only an empty one is right.
pub(crate) fn is_right(ours: &Secret, offered: &Secret) -> bool {
    bool::from(ours.expose().as_bytes().ct_eq(offered.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_is_right() {
        let check = |ours: &str, offered: &str, expected| {
            assert_eq!(is_right(&Secret::new(ours), &Secret::new(offered)), expected);
        };
        check("k", "k", true);
        check("k", "zz", false);
        check("k", "", false);
        check("", "", true);
        check("", "k", false);
    }
}
