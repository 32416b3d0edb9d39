//! The blackhole binary: a supernode, a publisher's tool, an operator's dashboard.
fn main() {}
