//! The ids of the events that an operator may have to act on.
//!
//! Each belongs to one event for good. `systemd/gb10-provision-api.catalog` has the same ids, with
//! what commonly stands behind each event and what to do: `journalctl -x` shows it.

/// A device sent its first heartbeat.
pub const DEVICE_FIRST_SEEN: &str = "90d16f5450064c3e87ef4b6e2ebec6f7";
/// A device reported that a stage failed.
pub const STAGE_FAILED: &str = "a9d0145054084a9d9fea8f110b66cb26";
/// A device reported that it is ready.
pub const DEVICE_READY: &str = "d6b1fc29e5294e96bfb1f2ec26de92cd";
/// A device is neither ready nor failed, and was not heard of for too long.
pub const DEVICE_STALLED: &str = "f8a62eb4df2e43d08700a25d7a148511";
/// A staged template is missing or has a fault, so that something else is served.
pub const TEMPLATE_BROKEN: &str = "dabbb1202b0c4ccca85df6a91dbe107c";
/// A staged file cannot be read, though it is there.
pub const STAGED_UNREADABLE: &str = "ad6ef878c6c94161a4fbfb6befae894a";
/// `clients.json` was unreadable and was moved aside.
pub const STATE_CORRUPT: &str = "e39a94d5ba614a39b5dbab110863e85a";
/// The state cannot be written.
pub const STATE_NOT_WRITABLE: &str = "a427c7ca16454202a2a9897a3517a9c6";
/// A peer outside the allowed networks connected.
pub const PEER_REFUSED: &str = "38929a7ae4df45cf8b75e48021295cd9";
/// A peer caused more lines than it has a quota for.
pub const LINES_LEFT_OUT: &str = "902bf4b1b1e44570a856c3fc95e1ae2e";
/// A peer has as many connections as it may, and opened another.
pub const PEER_CONNECTIONS: &str = "d0bcfbc8b2464bc598c89c26a1d33f57";
/// A device claims another MAC than its ARP entry has.
pub const MAC_DIFFERS: &str = "7cf5c2729004486a8541bd676ea873e6";
/// No record can be added: the table of devices is full.
pub const TABLE_FULL: &str = "e009a137bbbc48bb93d40ebe30f59821";
/// An operator had devices forgotten.
pub const DEVICE_FORGOTTEN: &str = "55834b2d2bcf4099b08ccbe2694cb40a";
/// A device was told what to boot.
pub const BOOT_DECIDED: &str = "06856b51f9b8472e9edec8f44d8564bd";
/// A device began too many installations that never ended, and boots its disk.
pub const INSTALL_GIVEN_UP: &str = "dd897afd622d4fcf9e92aba3895fbfa8";
/// A seed was asked for that the gate lets nobody have now.
pub const SEED_WITHHELD: &str = "d8d34a87e46e4d29bedcb7192e057ea9";
/// An operator armed devices.
pub const DEVICE_ARMED: &str = "29cd3dd45007401bba49f79c5f5d325c";
/// An operator took that back.
pub const DEVICE_DISARMED: &str = "5fdfbf2dc7174ea7bac16ada951e2513";
/// An operator staged an image that boxes are installed from.
pub const IMAGE_STAGED: &str = "46bca341e1704b0894723bbda42b2201";
/// An operator removed such an image.
pub const IMAGE_REMOVED: &str = "af6a5d9f342e46d9af90413c679e9581";
/// The log of an installation that fails is kept.
pub const INSTALL_LOG_KEPT: &str = "9a1ddc0ed3be40389b85719d8d265b00";
/// A device has a version that the baseline does not allow, and had none before.
pub const DEVICE_DRIFTED: &str = "20bdbb961fc741eea1a3bfb826c6f8a5";
