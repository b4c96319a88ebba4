//! What several test targets share.
#![allow(dead_code, reason = "each test target uses some of it")]

pub mod plugin;
