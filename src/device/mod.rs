//! What a device is, says and becomes: pure, without a clock, a file or a socket.

pub mod boot;
pub mod compact;
pub mod event_text;
pub mod facts;
pub mod fetches;
pub mod fields;
pub mod heartbeat;
pub mod history;
pub mod installer;
pub mod mac;
pub mod record;
pub mod sightings;
pub mod silence;
pub mod stage;
pub mod story;
pub mod view;
pub mod warning;
