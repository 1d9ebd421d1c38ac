//! lineman-gateway
