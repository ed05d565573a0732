//! Arguments, configuration, start.
fn main() {}
