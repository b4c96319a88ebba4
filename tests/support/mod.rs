//! What several test targets share.
#![allow(dead_code, clippy::expect_used, reason = "each test target uses some of it, and a test may panic")]

pub mod numpy;
pub mod onnx;
pub mod plugin;
pub mod world;
