//! The two objects that the host passes to a backend: a receiver of tensors, and a receiver of progress.

use crate::error::BackendError;
use crate::guard;
use crate::tensor::TensorView;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RResult, RStr};
use abi_stable::{RMut, RRef};

/// Receives tensors as they are read or computed.
///
/// Return an error to the host unchanged and at once: nothing more is wanted. It is `Cancelled` if the host has
/// simply seen enough.
#[sabi_trait]
pub trait TensorSink {
    /// Takes one tensor or the next piece of one. The view and everything it borrows end with this call.
    #[sabi(last_prefix_field)]
    fn tensor(&mut self, view: TensorView<'_>) -> RResult<(), BackendError>;
}

/// Receives progress and reports cancellation. It may be called from any thread.
#[sabi_trait]
pub trait Progress: Send + Sync {
    /// `done` of `total` (0: unknown) of `stage`, a few words such as `reading external data`. Returns true if the
    /// work should stop: the backend then returns [`BackendError::cancelled`]. The call is cheap; long work makes it
    /// at least every 50 ms.
    #[sabi(last_prefix_field)]
    fn update(&self, stage: RStr<'_>, done: u64, total: u64) -> bool;
}

/// A borrowed [`TensorSink`] as it crosses the boundary.
pub type TensorSinkMut<'a> = TensorSink_TO<'a, RMut<'a, ()>>;

/// A borrowed [`Progress`] as it crosses the boundary.
pub type ProgressRef<'a> = Progress_TO<'a, RRef<'a, ()>>;

/// An owned [`Progress`], for work that outlives the call.
pub type ProgressBox = Progress_TO<'static, RBox<()>>;

/// A [`TensorSink`] made from a closure, for the host and for tests. A panic of the closure stops here.
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

/// A [`Progress`] made from a closure, for the host and for tests; a panic of the closure requests a stop.
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
