//! The program as its users see it, one module for each command or concern.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are tests too"
)]

#[path = "../support/mod.rs"]
mod support;

mod assertions;
mod baseline;
mod bench;
mod bits;
mod blocks;
mod cache;
mod changes;
mod compare;
mod data;
mod diff;
mod doctor;
mod emulation;
mod environments;
mod errors;
mod evaluate;
mod examples;
mod export;
mod formats;
mod graph;
mod hostile_names;
mod input;
mod inspect;
mod junit;
mod kernels;
mod lint;
mod open;
mod plot;
mod promises;
mod quantize;
mod quantize_eager;
mod quantize_weights;
mod ranges;
mod recognition;
mod redirect;
mod residuals;
mod run;
mod safe_files;
mod schemas;
mod scripts;
mod search;
mod session;
mod stats;
mod stranger;
mod summary;
mod tables;
mod tour;
mod verdict;
mod watch;
mod workers;
