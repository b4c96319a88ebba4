//! The host's two objects that a backend is handed: where tensors go, and how far the work is.

use crate::error::BackendError;
use crate::guard;
use crate::tensor::TensorView;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RResult, RStr};
use abi_stable::{RMut, RRef};

/// Receives tensors as they are read or computed.
///
/// An error is to be returned to the host unchanged and at once: nothing more is wanted. It is `Cancelled`
/// when the host has simply seen enough.
#[sabi_trait]
pub trait TensorSink {
    /// One tensor or the next piece of one. The view and all it borrows end with this call.
    #[sabi(last_prefix_field)]
    fn tensor(&mut self, view: TensorView<'_>) -> RResult<(), BackendError>;
}

/// Is told how far the work is, and knows whether it is still wanted. It may be asked from any thread.
#[sabi_trait]
pub trait Progress: Send + Sync {
    /// `done` of `total` (0: not known) of `stage`, a few words such as `reading external data`. Returns
    /// true when the work is to stop: the backend then returns [`BackendError::cancelled`]. Costs little;
    /// long work calls it at least every 50 ms.
    #[sabi(last_prefix_field)]
    fn update(&self, stage: RStr<'_>, done: u64, total: u64) -> bool;
}

/// A borrowed [`TensorSink`] as it crosses the boundary.
pub type TensorSinkMut<'a> = TensorSink_TO<'a, RMut<'a, ()>>;

/// A borrowed [`Progress`] as it crosses the boundary.
pub type ProgressRef<'a> = Progress_TO<'a, RRef<'a, ()>>;

/// An owned [`Progress`], for work that outlives the call.
pub type ProgressBox = Progress_TO<'static, RBox<()>>;

/// A [`TensorSink`] from a closure, for the host and for tests. A panic of the closure stops here.
#[derive(Debug)]
pub struct FnSink<F>(pub F);

impl<F> TensorSink for FnSink<F>
where
    F: FnMut(TensorView<'_>) -> Result<(), BackendError>,
{
    fn tensor(&mut self, view: TensorView<'_>) -> RResult<(), BackendError> {
        guard::catch_in("the receiver of tensors", || (self.0)(view)).into()
    }
}

/// A [`Progress`] from a closure, for the host and for tests; a panic of the closure asks to stop.
#[derive(Debug)]
pub struct FnProgress<F>(pub F);

impl<F> Progress for FnProgress<F>
where
    F: Fn(&str, u64, u64) -> bool + Send + Sync,
{
    fn update(&self, stage: RStr<'_>, done: u64, total: u64) -> bool {
        guard::catch_in("the receiver of progress", || Ok((self.0)(stage.as_str(), done, total)))
            .unwrap_or(true)
    }
}
