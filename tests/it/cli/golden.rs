//! Shows what `gb10-provision-api check` says, to the letter: exit status, result and faults.

use crate::support::golden::golden;

golden! {
    a_device_whose_mac_is_unknown_is_tried,
    a_device_with_a_folder_is_tried_whether_the_file_knows_it_or_not,
    a_fault_in_the_rendered_yaml_has_its_line,
    a_missing_user_data_is_a_fault,
    a_seed_is_rendered_as_the_box_would_get_it,
    an_image_that_is_not_staged_is_a_fault,
    both_files_are_read_where_no_template_is_staged,
    both_files_pass_where_no_template_is_staged,
    each_fault_has_its_file_and_line,
    every_device_of_the_file_is_tried,
    for_machines_it_is_one_object,
    names_that_nothing_reads_are_named_with_the_right_one,
    several_documents_are_a_fault,
    several_images_and_none_named_is_a_note,
    the_base_that_has_the_fault_is_named,
    the_embedded_templates_pass,
    the_included_file_that_has_the_fault_is_named,
    the_macro_that_has_the_fault_is_named,
    what_is_never_closed_is_told_where_it_begins,
    what_is_of_ansible_is_told_with_what_to_write_instead,
    what_is_no_image_and_no_argument_has_its_line,
    what_only_the_device_will_find_out_is_a_note,
    what_renders_passes,
    what_the_files_hardly_mean_is_a_fault,
    what_the_installer_would_refuse_is_a_fault,
    where_nothing_is_staged_the_embedded_defaults_pass,
    yaml_in_every_file_of_a_seed_is_checked,
    yaml_that_only_an_unknown_device_breaks_is_a_fault,
}
