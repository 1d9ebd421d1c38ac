//! lineman
