//! Shows what the journal gets, line by line, as stderr has it.

use crate::support::golden::golden;

golden! {
    a_boxs_whole_story,
    a_device_that_was_never_served_is_first_seen_by_its_heartbeat,
    a_refused_heartbeat_is_a_line_with_its_reason,
    a_seed_is_a_line_with_device_source_and_template,
    an_onboarding_file_is_a_line_with_its_status,
}
