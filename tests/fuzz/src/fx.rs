//! What the fuzz target of fx graphs does with its bytes.

use crate::changes::{change, edit};
use crate::targets::fx_file;

/// The body of an fx graph's method of one input `x`, made into a program.
pub fn fx(bytes: &[u8]) {
    let file = fx_file(&String::from_utf8_lossy(bytes));
    change(&file, ".pt", &[&[edit("prepare", "", &[("shape:x", "2,4,8,8")])]]);
}
