//! Makes libtorch's registry agree with the list of what a model may call.

use crate::error::failed;
use crate::shim;
use qp_abi::sdk::{BackendError, Result};
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

/// Why a file that calls an operator at `place` does not run.
pub(crate) fn refused(name: &str, place: &str) -> BackendError {
    let called = if place.is_empty() {
        format!("the file calls `{name}`")
    } else {
        format!("`{place}` calls `{name}`")
    };
    match standing(name) {
        Standing::Unsafe(reason) => {
            BackendError::unsafe_file(format!("{called}, which is not an operator for models"))
                .with_cause(reason)
                .with_help("Do not run this file.")
        }
        Standing::Refused(reason) => BackendError::unsupported_op(format!("{called}, which qp does not run"))
            .with_cause(reason)
            .with_help("Save the model again without it."),
        Standing::Unknown | Standing::Allowed => BackendError::unsupported_op(format!(
            "qp does not know the operator `{name}` of this file"
        ))
        .with_help(
            "Replace it with PyTorch's own operators and save the model again; qp does not load operator libraries.",
        ),
    }
}
