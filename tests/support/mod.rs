//! What several test targets share.
#![allow(dead_code, clippy::expect_used, reason = "each test target uses some of it, and a test may panic")]

pub mod numpy;
pub mod onnx;
pub mod plugin;
pub mod schema;
pub mod world;

/// Whether what is recorded is to be written anew: `QP_BLESS=1`.
#[allow(clippy::disallowed_methods, reason = "it is the tests' own variable, and none of the program's")]
pub fn is_blessing() -> bool {
    std::env::var_os("QP_BLESS").is_some()
}
