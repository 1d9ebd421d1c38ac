//! A cluster's key, which must not get into logs, and its name, which may.

use std::fmt;

/// How long a cluster's name may be.
const LONGEST_NAME: usize = 64;

/// A secret key, and the name of its cluster if it has one.
///
/// What is shown to peers of a cluster with a name is `NAME:KEY`, so that a peer of another cluster is
/// refused though its key is the same; a peer of `GatewayWorker`'s has that as its `secretKey`. It cannot be
/// printed and has no `==`: the comparison has to take the same time for every key, which the holder of
/// the right one sees to.
#[derive(Clone, Default)]
pub struct Secret {
    shown: String,
    cluster: String,
}

impl Secret {
    /// Wraps a key; an empty one means that there is none.
    pub fn new(key: impl Into<String>) -> Self {
        Self { shown: key.into(), cluster: String::new() }
    }

    /// Makes it the key of the cluster of that name; without a name it stays what it is. Called once.
    #[must_use]
    pub fn in_cluster(self, name: &str) -> Self {
        if name.is_empty() {
            return self;
        }
        Self { shown: format!("{name}:{}", self.shown), cluster: name.to_owned() }
    }

    /// Returns what a peer has shown, and the name of the cluster that it says it is of.
    pub(super) fn of_peer(shown: impl Into<String>, cluster: impl Into<String>) -> Self {
        let (shown, cluster) = (shown.into(), cluster.into());
        // What is no name is not worth being told of.
        let cluster = if is_cluster_name(&cluster) { cluster } else { String::new() };
        Self { shown, cluster }
    }

    /// Returns what is shown, to compare or to send it: the key, behind the cluster's name if it has one.
    pub fn expose(&self) -> &str {
        &self.shown
    }

    /// Returns the cluster's name; empty if it has none.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Returns the cluster's name, if it has one.
    pub(super) fn cluster_name(&self) -> Option<&str> {
        Some(&*self.cluster).filter(|name| !name.is_empty())
    }

    /// Says whether there is a key, whatever the name is.
    pub fn has_key(&self) -> bool {
        // Behind a name there is a colon.
        let before = if self.cluster.is_empty() { 0 } else { self.cluster.len() + 1 };
        self.shown.len() > before
    }

    /// Says whether there is neither a key nor a name.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

/// Returns whether a cluster can have this name: 1 to 64 letters, digits, `-`, `_` and `.` of ASCII. A colon
/// would make it unclear where the key begins.
pub fn is_cluster_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(fits)
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl From<String> for Secret {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}

impl From<&str> for Secret {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}
