//! Which image a box is installed from, and with which arguments for the kernel: by a table.

use gb10_provision_api::images::{chosen, kernel_args};
use gb10_provision_api::site::{ImageName, KernelArgs, KnownDevice, Site};
use serde_json::{Value, json};

fn site(values: Value) -> Site {
    Site(serde_json::from_value(values).unwrap())
}

fn device(values: Value) -> KnownDevice {
    serde_json::from_value(values).unwrap()
}

fn names(names: &[&str]) -> Vec<ImageName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn the_box_s_own_image_comes_before_the_site_s_and_that_before_the_only_one() {
    let nobody = json!({});
    let (own, of_site) = (json!({"image": "own"}), json!({"image": "site"}));
    let none = "no image is staged";
    // What devices.json says of the box, what site.json says, what is staged, what it gets.
    type Row<'a> = (
        &'a Value,
        &'a Value,
        &'a [&'a str],
        Result<&'a str, &'a str>,
    );
    let table: &[Row<'_>] = &[
        (&own, &of_site, &["own", "site"], Ok("own")),
        (&own, &nobody, &["own", "site"], Ok("own")),
        (
            &own,
            &of_site,
            &["site"],
            Err("the image own, which devices.json names, is not staged"),
        ),
        (
            &own,
            &of_site,
            &[],
            Err("the image own, which devices.json names, is not staged"),
        ),
        (&nobody, &of_site, &["own", "site"], Ok("site")),
        (
            &nobody,
            &of_site,
            &["own"],
            Err("the image site, which site.json names, is not staged"),
        ),
        (&nobody, &nobody, &["own"], Ok("own")),
        (&nobody, &nobody, &[], Err(none)),
        (
            &nobody,
            &nobody,
            &["own", "site"],
            Err("2 images are staged, and none is named for this box"),
        ),
    ];
    for (of_box, of_site, staged, expected) in table {
        let device = device((*of_box).clone());
        let site = site((*of_site).clone());
        let got = chosen(Some(&device), &site, &names(staged)).map_err(|none| none.to_string());
        let expected = expected
            .map(|name| name.parse().unwrap())
            .map_err(str::to_owned);
        assert_eq!(got, expected, "{of_box} {of_site} {staged:?}");
        if **of_box == nobody {
            let unknown = chosen(None, &site, &names(staged)).map_err(|none| none.to_string());
            assert_eq!(
                unknown, expected,
                "of a box that devices.json does not know"
            );
        }
    }
}

#[test]
fn a_box_s_own_kernel_arguments_replace_those_of_the_site() {
    let of_site = site(json!({"kernel_args": "console=ttyS0 quiet"}));
    let args = |device: Option<Value>, site| {
        kernel_args(device.map(self::device).as_ref(), site)
            .as_str()
            .to_owned()
    };
    assert_eq!(args(None, &of_site), "console=ttyS0 quiet");
    assert_eq!(args(Some(json!({})), &of_site), "console=ttyS0 quiet");
    assert_eq!(
        args(Some(json!({"kernel_args": "nomodeset"})), &of_site),
        "nomodeset"
    );
    assert_eq!(args(Some(json!({"kernel_args": ""})), &of_site), "");
    assert_eq!(args(None, &Site::default()), "");
}

#[test]
fn what_grub_would_take_for_its_own_is_no_argument_for_a_kernel() {
    for sound in [
        "",
        "a",
        "nvme-core.multipath=n nouveau.modeset=0",
        "ip=:::::eth0:dhcp a=b,c@d:e/f#g+h~i*[j]?k!l%m^n(o)-p_q",
    ] {
        assert_eq!(sound.parse::<KernelArgs>().unwrap().as_str(), sound);
    }
    for odd in "\"'`;$\\{}|&<>\n\r\t\0\x7fé€".chars() {
        let text = format!("quiet {odd}x");
        let reason = text.parse::<KernelArgs>().unwrap_err();
        assert!(
            reason.starts_with(&format!("{odd:?} cannot stand")),
            "{reason}"
        );
    }
    assert!("x".repeat(1024).parse::<KernelArgs>().is_ok());
    let reason = "x".repeat(1025).parse::<KernelArgs>().unwrap_err();
    assert!(
        reason.contains("1025 bytes: expected at most 1024"),
        "{reason}"
    );
}
