//! Tests of the logic, with connections that only remember.
