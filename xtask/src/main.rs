//! One command for everything a newcomer or CI does here.
fn main() {}
