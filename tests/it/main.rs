//! The tests, in one binary: the real service in a process of its own, and what it promises.
//!
//! The folders mirror those of `src`. A test is named by what it shows; its path is the filter that
//! `cargo test --test it` and `tests/run` take.

mod board;
mod fuzz;
mod gate;
mod house;
mod release;
mod support;

mod cli {
    mod baseline;
    mod cidata;
    mod clients;
    mod command_line;
    mod forget;
    mod golden;
    mod probe;
}

mod terminal {
    mod live;
    mod model;
}

mod service {
    mod credential;
    mod floods;
    mod golden;
    mod life;
    mod logging;
    mod silence;
}

mod images {
    mod choice;
    mod manage;
    mod media;
    mod stage;
    mod whole;
}

mod http {
    mod board;
    mod boot;
    mod boot_files;
    mod boot_loaders;
    mod boot_storm;
    mod browsers;
    mod health;
    mod heartbeat;
    mod logs;
    mod manners;
    mod metrics;
    mod pair;
    mod served;
    mod webhook;
}

mod logs {
    mod room;
}

mod net {
    mod neighbours;
    mod places;
}

mod recorder {
    mod silence;
}

mod device {
    mod facts;
    mod installer;
    mod mac;
    mod silence;
    mod view;
}

mod dnsmasq {
    mod configuration;
}

mod doctor {
    mod faults;
    mod judgements;
    mod wire;
}

mod seed {
    mod autoinstall;
    mod autoinstall_schema;
    mod bounds;
    mod formats;
    mod golden;
    mod jinja2;
    mod jinja2_random;
    mod pyyaml;
    mod reads;
    mod requests;
    mod secrets;
    mod templates;
}

mod site {
    mod baseline;
    mod devices;
}

mod onboard {
    mod files;
    mod manifest;
    mod versions;
}

mod store {
    mod armed;
    mod bounds;
    mod crash;
    mod disk_faults;
    mod power_cut;
    mod properties;
    mod readers;
    mod shared_state;
    mod state;
    mod surprises;
}
