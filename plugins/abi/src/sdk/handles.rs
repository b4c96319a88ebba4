//! The host's two objects in a form suited to a plugin's author: `?` stops the work.

use super::Result;
use crate::error::BackendError;
use crate::sink::{ProgressRef, TensorSinkMut};
use crate::tensor::TensorView;

/// Where tensors go.
pub struct Sink<'a>(TensorSinkMut<'a>);

impl<'a> Sink<'a> {
    /// Wraps the object that the host passed in.
    pub fn new(raw: TensorSinkMut<'a>) -> Self {
        Self(raw)
    }

    /// Delivers one tensor or the next piece of one.
    ///
    /// # Errors
    /// The host's error when it wants no more; return it unchanged.
    pub fn tensor(&mut self, view: TensorView<'_>) -> Result<()> {
        self.0.tensor(view).into_result()
    }

    /// The object that the host passed in, to pass across another boundary.
    pub fn as_raw(&mut self) -> TensorSinkMut<'_> {
        self.0.sabi_reborrow_mut()
    }
}

/// Reports progress and receives cancellation. It may be used from any thread.
pub struct Progress<'a>(ProgressRef<'a>);

impl<'a> Progress<'a> {
    /// Wraps the object that the host passed in.
    pub fn new(raw: ProgressRef<'a>) -> Self {
        Self(raw)
    }

    /// Reports that `done` of `total` (0: unknown) of `stage` is done.
    ///
    /// # Errors
    /// `Cancelled` if the work should stop.
    pub fn update(&self, stage: &str, done: u64, total: u64) -> Result<()> {
        if self.0.update(stage.into(), done, total) { Err(BackendError::cancelled()) } else { Ok(()) }
    }

    /// Whether the work should stop, without reporting progress.
    pub fn is_cancelled(&self) -> bool {
        self.0.update("".into(), 0, 0)
    }

    /// The object that the host passed in, to pass across another boundary.
    pub fn as_raw(&self) -> ProgressRef<'_> {
        self.0.sabi_reborrow()
    }
}
