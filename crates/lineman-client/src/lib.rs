//! lineman-client
