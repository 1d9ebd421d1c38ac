//! lineman-testkit
