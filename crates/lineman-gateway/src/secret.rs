//! What a peer has to show: the cluster's key, compared in a time that does not depend on how much of a guess
//! is right, and its name.
//!
//! Called by the register, by the gateway's links, and where a service is set up. The key itself is
//! [`lineman_wire::link::Secret`], which no log can show.

use lineman::Error;
use lineman_wire::link::{Secret, is_cluster_name};
use subtle::ConstantTimeEq;

/// Returns why a peer is not of our cluster, if it is not. Without a key on our side only an empty one is right.
///
/// What is compared has the cluster's name in front of the key; the name that a peer says beside it is there to
/// tell one that is of another cluster from one whose key is wrong.
pub(crate) fn objection(ours: &Secret, offered: &Secret) -> Option<String> {
    if bool::from(ours.expose().as_bytes().ct_eq(offered.expose().as_bytes())) {
        return None;
    }
    let (of_ours, of_peer) = (ours.cluster(), offered.cluster());
    if of_ours == of_peer {
        return Some("wrong secret key".to_owned());
    }
    let said = |name: &str| if name.is_empty() { "none".to_owned() } else { format!("{name:?}") };
    let (ours, theirs) = (said(of_ours), said(of_peer));
    Some(format!("wrong cluster: its cluster is {theirs}, and this one's is {ours}"))
}

/// Returns what a service shows and asks for, as it was set.
pub(crate) fn of_service(service: &str, key: &Secret, cluster: &str) -> Result<Secret, Error> {
    if !cluster.is_empty() && !is_cluster_name(cluster) {
        return Err(Error::Configuration {
            service: service.to_owned(),
            problem: format!(
                "cluster {cluster:?} is no name: 1 to 64 letters, digits, '-', '_' and '.' of ASCII are"
            ),
        });
    }
    Ok(key.clone().in_cluster(cluster))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_of_the_same_cluster_is_right() {
        let check = |ours: (&str, &str), offered: (&str, &str), expected: Option<&str>| {
            let secret = |(name, key): (&str, &str)| Secret::new(key).in_cluster(name);
            let objection = objection(&secret(ours), &secret(offered));
            assert_eq!(objection.as_deref(), expected, "{ours:?} {offered:?}");
        };
        let wrong = Some("wrong secret key");
        check(("", "k"), ("", "k"), None);
        check(("", "k"), ("", "zz"), wrong);
        check(("", "k"), ("", ""), wrong);
        check(("", ""), ("", ""), None);
        check(("", ""), ("", "k"), wrong);
        check(("chat", "k"), ("chat", "k"), None);
        check(("chat", ""), ("chat", ""), None);
        check(("chat", "k"), ("chat", "zz"), wrong);
        let other = |theirs: &str, ours: &str| {
            format!("wrong cluster: its cluster is {theirs}, and this one's is {ours}")
        };
        for key in ["k", "zz", ""] {
            check(("chat", "k"), ("game", key), Some(&other("\"game\"", "\"chat\"")));
            check(("", "k"), ("game", key), Some(&other("\"game\"", "none")));
            check(("chat", "k"), ("", key), Some(&other("none", "\"chat\"")));
        }
        // GatewayWorker's peers know no name; what they show is set to be the same.
        check(("chat", "k"), ("", "chat:k"), None);
    }

    #[test]
    fn a_name_is_checked_where_it_is_set() {
        let secret = |name| of_service("gateway", &Secret::new("k"), name);
        assert_eq!(secret("").unwrap().expose(), "k");
        assert_eq!(secret("chat").unwrap().expose(), "chat:k");
        let error = secret("a b").unwrap_err().to_string();
        assert!(error.contains("cluster \"a b\" is no name"), "{error}");
    }
}
