//! Clients that share no code with us: browsers, libraries in other languages, conformance suites.

mod peers;
mod browser;
mod conformance;
