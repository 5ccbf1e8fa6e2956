//! One file for each context that SPANK calls a plugin in.

pub mod epilog;
pub mod prolog;
pub mod step;
