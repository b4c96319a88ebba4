//! Progress of a plugin's work, and cancellation.

use qp_abi::abi_stable::RRef;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::RStr;
use qp_abi::sink::{self, Progress_TO, ProgressRef};

/// Receives the progress of work, and says whether to cancel it. Called from any thread, and often: both methods must
/// be quick.
pub trait Progress: Sync {
    /// `done` of `total` (0: unknown) of `stage`, a few words such as `reading external data`.
    fn update(&self, stage: &str, done: u64, total: u64);

    /// Whether the work should stop.
    fn is_cancelled(&self) -> bool;
}

/// For work whose progress is not shown and that cannot be cancelled.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn update(&self, _stage: &str, _done: u64, _total: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// A host's [`Progress`] as a plugin sees it.
pub(super) struct Ticker<'a>(pub(super) &'a dyn Progress);

impl Ticker<'_> {
    /// The object to pass across the boundary.
    pub(super) fn as_object(&self) -> ProgressRef<'_> {
        Progress_TO::from_ptr(RRef::new(self), TD_Opaque)
    }
}

impl sink::Progress for Ticker<'_> {
    fn update(&self, stage: RStr<'_>, done: u64, total: u64) -> bool {
        qp_abi::guard::catch_in("qp", || {
            // An empty stage only asks.
            if !stage.is_empty() {
                self.0.update(stage.as_str(), done, total);
            }
            Ok(self.0.is_cancelled())
        })
        .unwrap_or(true)
    }
}
