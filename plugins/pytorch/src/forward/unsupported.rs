//! The one error that following code gives.

use qp_abi::sdk::BackendError;

/// The file does not say what something computes, in words that name it.
pub(super) fn unsupported(message: impl Into<String>) -> BackendError {
    BackendError::unsupported_op(message)
}
