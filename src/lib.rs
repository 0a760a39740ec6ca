//! `gb10-provision-api`: brings NVIDIA GB10 boxes online on one provisioning LAN.
//!
//! A request's way is a straight line: [`http`] asks which device it is ([`mac`], [`neighbours`]),
//! then either renders ([`seed`]) or records ([`record`] says how a heartbeat changes a record,
//! [`store`] makes it last), and answers. A room imports only from rooms below it:
//!
//! | floor | room |
//! |---|---|
//! | 5 | [`cli`] |
//! | 4 | [`config`], [`service`], [`listener`], [`systemd`], [`journal`] |
//! | 3 | [`http`] |
//! | 2 | [`neighbours`], [`seed`] over [`jinja`], [`yaml`] and [`site`], [`manifest`], [`store`] |
//! | 1 | [`defaults`], [`mac`], [`onboarding`], [`password`], [`record`], [`installer`], [`stamp`], [`fault`], [`message_id`], [`excerpt`] |

pub mod cli;
pub mod config;
pub mod defaults;
pub mod excerpt;
pub mod fault;
pub mod http;
pub mod installer;
pub mod jinja;
pub mod journal;
pub mod listener;
pub mod mac;
pub mod manifest;
pub mod message_id;
pub mod neighbours;
pub mod onboarding;
pub mod password;
pub mod record;
pub mod seed;
pub mod service;
pub mod site;
pub mod stamp;
pub mod store;
pub mod systemd;
pub mod yaml;
