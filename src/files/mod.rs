//! Files: what changed, what is wrong with one, where each lies, and what is kept of one that cannot
//! be read.

pub mod fault;
pub mod layout;
pub mod staged;
pub mod stamp;

pub use fault::Fault;
