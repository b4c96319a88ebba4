//! The host's two objects with the face that a plugin's author wants: `?` stops the work.

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
    /// The host's answer when it wants no more; return it unchanged.
    pub fn tensor(&mut self, view: TensorView<'_>) -> Result<()> {
        self.0.tensor(view).into_result()
    }

    /// The object that the host passed in, to hand on across another boundary.
    pub fn as_raw(&mut self) -> TensorSinkMut<'_> {
        self.0.sabi_reborrow_mut()
    }
}

/// How far the work is, and whether it is still wanted. It may be used from any thread.
pub struct Progress<'a>(ProgressRef<'a>);

impl<'a> Progress<'a> {
    /// Wraps the object that the host passed in.
    pub fn new(raw: ProgressRef<'a>) -> Self {
        Self(raw)
    }

    /// Tells that `done` of `total` (0: not known) of `stage` is done.
    ///
    /// # Errors
    /// `Cancelled` when the work is to stop.
    pub fn update(&self, stage: &str, done: u64, total: u64) -> Result<()> {
        if self.0.update(stage.into(), done, total) { Err(BackendError::cancelled()) } else { Ok(()) }
    }

    /// Whether the work is to stop, asked without telling anything new.
    pub fn is_cancelled(&self) -> bool {
        self.0.update("".into(), 0, 0)
    }

    /// The object that the host passed in, to hand on across another boundary.
    pub fn as_raw(&self) -> ProgressRef<'_> {
        self.0.sabi_reborrow()
    }
}
