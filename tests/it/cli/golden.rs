//! Shows what `gb10-provision-api check` says, to the letter: exit status, result and faults.

use crate::support::golden::golden;

golden! {
    a_device_whose_mac_is_unknown_is_tried,
    a_fault_in_the_rendered_yaml_has_its_line,
    a_missing_user_data_is_a_fault,
    both_files_are_read_where_no_template_is_staged,
    both_files_pass_where_no_template_is_staged,
    each_fault_has_its_file_and_line,
    every_device_of_the_file_is_tried,
    several_documents_are_a_fault,
    the_base_that_has_the_fault_is_named,
    the_embedded_templates_pass,
    the_included_file_that_has_the_fault_is_named,
    the_macro_that_has_the_fault_is_named,
    what_renders_passes,
    where_nothing_is_staged_the_embedded_defaults_pass,
    yaml_that_only_an_unknown_device_breaks_is_a_fault,
}
