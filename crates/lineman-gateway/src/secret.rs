//! What a peer has to show: the cluster's key, compared in a time that does not depend on how much of a guess
//! is right, and its name.
//!
//! Called by the register, by the gateway's links, and where a service is set up. The key itself is
//! [`lineman_wire::link::Secret`], which no log can show.

use std::fmt;

use lineman::Error;
use lineman_wire::link::{Secret, is_cluster_name};
use subtle::ConstantTimeEq;

/// Returns why a peer is not of our cluster, if it is not. Without a key on our side only an empty one is right.
///
/// What is compared has the cluster's name in front of the key; the name that a peer says beside it is there to
/// tell one that is of another cluster from one whose key is wrong.
pub(crate) fn objection(ours: &Secret, offered: &Secret) -> Option<Objection> {
    if bool::from(ours.expose().as_bytes().ct_eq(offered.expose().as_bytes())) {
        return None;
    }
    let (of_ours, of_peer) = (ours.cluster(), offered.cluster());
    if of_ours == of_peer {
        return Some(Objection::Key);
    }
    Some(Objection::Cluster { ours: of_ours.to_owned(), theirs: of_peer.to_owned() })
}

/// Why a peer is not taken. As text it is for our log; what the peer is told speaks of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Objection {
    /// It is of our cluster, and its key is wrong.
    Key,
    /// It came without TLS.
    Unencrypted,
    /// It is of another cluster; a name is empty where there is none.
    Cluster { ours: String, theirs: String },
}

impl fmt::Display for Objection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said =
            |name: &str| if name.is_empty() { "none".to_owned() } else { format!("{name:?}") };
        match self {
            Self::Key => formatter.write_str("wrong secret key"),
            Self::Unencrypted => {
                formatter.write_str("it comes without TLS, which link_tls requires")
            }
            Self::Cluster { ours, theirs } => {
                let (ours, theirs) = (said(ours), said(theirs));
                write!(
                    formatter,
                    "wrong cluster: its cluster is {theirs}, and this one's is {ours}"
                )
            }
        }
    }
}

impl Objection {
    /// Returns it in words for the peer.
    pub(crate) fn to_peer(&self) -> String {
        match self {
            Self::Key => self.to_string(),
            Self::Unencrypted => "it requires TLS (hint: link_tls)".to_owned(),
            Self::Cluster { ours, theirs } if ours.is_empty() => {
                format!("it belongs to a cluster without a name, not to {theirs:?}")
            }
            Self::Cluster { ours, theirs } if theirs.is_empty() => {
                format!("it belongs to cluster {ours:?}, and no name of a cluster was given")
            }
            Self::Cluster { ours, theirs } => {
                format!("it belongs to cluster {ours:?}, not {theirs:?}")
            }
        }
    }
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
            let objection =
                objection(&secret(ours), &secret(offered)).map(|found| found.to_string());
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
        let told = |ours: &str, theirs: &str| {
            objection(&Secret::default().in_cluster(ours), &Secret::default().in_cluster(theirs))
                .map(|found| found.to_peer())
        };
        let belongs = |text: &str| Some(format!("it belongs to {text}"));
        assert_eq!(told("b", "a"), belongs(r#"cluster "b", not "a""#));
        assert_eq!(told("", "a"), belongs(r#"a cluster without a name, not to "a""#));
        let unnamed = r#"cluster "b", and no name of a cluster was given"#;
        assert_eq!(told("b", ""), belongs(unnamed));
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
