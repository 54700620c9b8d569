//! Picks the personality; nothing else.

fn main() {}
