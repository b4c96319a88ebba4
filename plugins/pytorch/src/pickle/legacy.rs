//! How files of PyTorch before 1.6 begin.

use super::value::{Pickle, Value};

/// The number that the first pickle is of, little-endian.
const MAGIC_NUMBER: &[u8] = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// Pickles at the start: the number, the protocol, the system, the data, the keys of the storages.
pub const PICKLES: usize = 5;

/// Whether a pickle is the first of a legacy file, however it writes the number.
pub fn is_magic(pickle: &Pickle) -> bool {
    match pickle.get(pickle.root()) {
        Value::BigInt(bytes) => {
            bytes.strip_prefix(MAGIC_NUMBER).is_some_and(|rest| rest.iter().all(|&byte| byte == 0))
        }
        _ => false,
    }
}
