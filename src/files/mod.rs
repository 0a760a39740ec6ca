//! Files: what changed, what is wrong with one, where each lies, what is kept of one that cannot be
//! read, and how one is replaced.

pub mod fault;
pub mod layout;
pub mod replace;
pub mod staged;
pub mod stamp;

pub use fault::{Fault, Place};
