//! How far a plugin's work is, and whether it is still wanted.

use qp_abi::abi_stable::RRef;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::RStr;
use qp_abi::sink::{self, Progress_TO, ProgressRef};

/// Is told how far the work is, and knows whether it is still wanted. It may be asked from any thread, and
/// often: both methods must be quick.
pub trait Progress: Sync {
    /// `done` of `total` (0: not known) of `stage`, a few words such as `reading external data`.
    fn update(&self, stage: &str, done: u64, total: u64);

    /// Whether the work is to stop.
    fn is_cancelled(&self) -> bool;
}

/// For work of which nobody wants to know how far it is, and which nobody stops.
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
