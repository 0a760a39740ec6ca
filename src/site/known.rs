//! What the operator's files say of boxes that are on record.

use std::sync::Arc;

use super::{Baseline, Devices};
use crate::device::story::Story;
use crate::device::view::Row;

/// `devices.json` and `baseline.json` as they were at one moment.
#[derive(Debug, Clone)]
pub struct Known {
    /// What is known of single devices.
    pub devices: Arc<Devices>,
    /// Which versions boxes may have.
    pub baseline: Arc<Baseline>,
}

impl Known {
    /// The line of a box with all that these files say of it: its role, and what of it is outside
    /// the baseline.
    pub fn complete(&self, row: Arc<Row>) -> Arc<Row> {
        let (role, drift) = (
            self.devices.role(row.mac),
            self.baseline.drift(&row.versions),
        );
        if role == row.role && drift == row.drift {
            return row;
        }
        let mut row = Arc::unwrap_or_clone(row);
        row.role = role;
        row.judge(drift);
        Arc::new(row)
    }

    /// The same for all boxes.
    pub fn rows(&self, rows: impl Iterator<Item = Arc<Row>>) -> impl Iterator<Item = Arc<Row>> {
        rows.map(|row| self.complete(row))
    }

    /// The same for the story of one box.
    pub fn complete_story(&self, mut story: Story) -> Story {
        let row = Arc::new(story.row);
        story.row = Arc::unwrap_or_clone(self.complete(row));
        story
    }

    /// Whether nothing was read anew in between.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.devices, &other.devices) && Arc::ptr_eq(&self.baseline, &other.baseline)
    }
}
