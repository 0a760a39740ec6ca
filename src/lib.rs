//! `gb10-provision-api`: brings NVIDIA GB10 boxes online on one provisioning LAN.
//!
//! A request's way is a straight line: [`net`] accepts it, [`http`] finds out which device asks,
//! then either renders ([`seed`]), serves a file, decides what a box boots ([`gate`]) or has it put on record ([`recorder`] by way of
//! [`store`]), and answers. What a device is and what becomes of it is decided in [`device`],
//! without a clock, a file or a socket.
//!
//! A room imports only from rooms on floors below it, which `tests/it/house.rs` checks:
//!
//! | floor | rooms |
//! |---|---|
//! | 7 | [`cli`] |
//! | 6 | [`service`], [`doctor`], [`terminal`] |
//! | 5 | [`http`] |
//! | 4 | [`recorder`] |
//! | 3 | [`store`], [`seed`], [`onboard`], [`images`], [`net`] |
//! | 2 | [`site`], [`gate`], [`board`], [`logs`] |
//! | 1 | [`device`], [`files`] |
//! | 0 | [`dnsmasq`], [`embedded`], [`excerpt`], [`fat`], [`message_id`], [`nearest`], [`tools`] |

// What input or the system decides never ends the process.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod board;
pub mod cli;
pub mod device;
pub mod dnsmasq;
pub mod doctor;
mod embedded;
mod excerpt;
pub mod fat;
mod files;
pub mod gate;
mod http;
pub mod images;
pub mod logs;
mod message_id;
mod nearest;
pub mod net;
mod onboard;
pub mod recorder;
pub mod seed;
mod service;
pub mod site;
pub mod store;
pub mod terminal;
mod tools;
