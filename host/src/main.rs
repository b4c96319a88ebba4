//! qp.
fn main() {}
