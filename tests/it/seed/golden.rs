//! Shows what a device gets, to the letter.

use crate::support::golden::golden;

golden! {
    an_unknown_mac,
    the_embedded_default,
    the_embedded_default_with_keys_alone,
    the_embedded_default_with_site_and_device,
    the_fallback,
    what_a_template_may_ask,
}
