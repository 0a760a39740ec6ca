//! Files: what changed, what is wrong with one, where each lies, and how one is replaced.

pub mod fault;
pub mod layout;
pub mod stamp;

pub use fault::Fault;
