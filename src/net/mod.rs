//! The LAN's side: sockets, who may connect, one connection's life, and the kernel's neighbours.
//!
//! Nothing here knows what is served: the accept loop takes any HTTP service, and leaves each
//! request a [`Connection`] among its extensions.

pub mod accept;
pub mod admission;
pub mod connection;
pub mod neighbours;
pub mod paced;
pub mod peers;
pub mod repeats;
pub mod sockets;
pub mod stop;

pub use accept::Listener;
pub use admission::{Admission, Place, Seat};
pub use connection::Connection;
pub use stop::{Stop, Stopping};
