//! How a device stands, as everything that counts or shows devices sees it.

use super::record::ClientRecord;
use super::stage::{Phase, Stage};

/// How a device stands by its last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Neither ready nor failed.
    OnItsWay,
    /// Its last report is that it is ready.
    Ready,
    /// Its last report is that a stage failed, or its installations never end.
    Failed,
}

impl Standing {
    /// How the device of this record stands.
    pub fn of(record: &ClientRecord) -> Self {
        match (record.current_phase(), record.current_stage()) {
            _ if record.is_given_up() => Self::Failed,
            (Some(Phase::Fail), _) => Self::Failed,
            (Some(Phase::Done), Some(stage)) if stage == Stage::Ready.name() => Self::Ready,
            _ => Self::OnItsWay,
        }
    }
}
