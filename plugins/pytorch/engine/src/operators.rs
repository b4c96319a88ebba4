//! Makes libtorch's registry agree with the list of what a model may call.

use crate::error::failed;
use crate::shim;
use qp_abi::sdk::Result;
use qp_pytorch_contract::operator_list::{Standing, standing};
use std::sync::OnceLock;

/// Makes libtorch reject everything in models that the list does not allow. Must be called before any file is read.
///
/// # Errors
/// Those of libtorch.
pub(crate) fn restrict() -> Result<()> {
    static DONE: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| shim::restrict(|name| standing(name) == Standing::Allowed));
    done.clone().map_err(|text| failed("libtorch could not be set up", text))
}
