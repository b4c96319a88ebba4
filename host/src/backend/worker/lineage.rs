//! Where a model comes from, and how it is made again in a worker.

use super::call::{Failure, Tell, Waiting, unfit};
use super::files::Files;
use super::lock;
use super::message::{Answer, Change, Order};
use super::process::Connection;
use super::shared::Shared;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::RSlice;
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::backend::{BackendBox, ModelBox};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, ProgressRef, TensorSink_TO};
use qp_abi::{BackendError, ModelInfo, TensorView};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Where a model comes from: what a worker needs to make it again.
pub(super) struct Lineage {
    pub(super) id: u64,
    pub(super) origin: Origin,
}

pub(super) enum Origin {
    File {
        location: String,
        /// Its files as they were when they were last known to hold the model.
        files: Mutex<Files>,
        local: Arc<ModelBox>,
    },
    Edited {
        of: Arc<Lineage>,
        edits: Vec<Change>,
        /// The elements of large tensors in `edits`.
        memory: Option<Shared>,
    },
}

impl Lineage {
    pub(super) fn new(origin: Origin) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), origin })
    }

    /// The file's name.
    pub(super) fn file(&self) -> &str {
        match &self.origin {
            Origin::File { location, .. } => {
                Path::new(location).file_name().and_then(|name| name.to_str()).unwrap_or(location)
            }
            Origin::Edited { of, .. } => of.file(),
        }
    }

    /// Makes sure that the worker will find what is open here: a file that was only touched, or replaced by its like.
    pub(super) fn check(&self, backend: &BackendBox, tell: Tell<'_>) -> Result<(), BackendError> {
        let (location, files, local) = match &self.origin {
            Origin::Edited { of, .. } => return of.check(backend, tell),
            Origin::File { location, files, local } => (location, files, local),
        };
        let mut files = lock(files);
        let now = files.now();
        if *files == now {
            return Ok(());
        }
        if files.has_other_data(&now) {
            return Err(files.changed(&now));
        }
        let progress = FnProgress(|stage: &str, done, total| tell(stage, done, total));
        let progress = || Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
        let again = backend.open(location.as_str().into(), RSlice::EMPTY, progress()).into_result()?;
        if content(&again, &progress)? != content(local, &progress)? {
            return Err(files.changed(&now));
        }
        *files = now;
        Ok(())
    }

    /// Makes the model in the worker: of the nearest of its ancestors that is open there, or of the file.
    pub(super) fn make(&self, connection: &mut Connection, waiting: &mut Waiting<'_>) -> Result<(), Failure> {
        let mut steps = Vec::new();
        let mut at = self;
        while let Origin::Edited { of, edits, memory } = &at.origin {
            steps.push((at.id, of, edits, memory));
            at = of;
        }
        let Origin::File { location, files, .. } = &at.origin else { return Ok(()) };
        let mut known = None;
        if !steps.is_empty() {
            connection.link.send(&Order::Which(steps.iter().map(|(_, of, ..)| of.id).collect()))?;
            match waiting.answer(connection)? {
                Answer::Known(place) => known = place,
                other => return Err(unfit(other)),
            }
        }
        if known.is_none() {
            let files = lock(files).clone();
            connection.link.send(&Order::Open { id: at.id, location: location.clone(), files })?;
            waiting.done(connection)?;
        }
        let due = known.map_or(steps.len(), |place| place + 1);
        for (id, of, edits, memory) in steps.into_iter().take(due).rev() {
            let order = Order::Edit { id, of: of.id, edits: edits.into(), has_memory: memory.is_some() };
            let descriptors: Vec<_> = memory.iter().map(Shared::descriptor).collect();
            connection.link.send_with(&order, &descriptors)?;
            waiting.done(connection)?;
        }
        Ok(())
    }
}

/// What a model is: its description, and a hash of all that it stores.
fn content<'p>(
    model: &ModelBox,
    progress: &dyn Fn() -> ProgressRef<'p>,
) -> Result<(ModelInfo, blake3::Hash), BackendError> {
    let info = model.info().into_result()?;
    let mut hash = blake3::Hasher::new();
    for tensor in &info.tensors {
        let mut sink = FnSink(|view: TensorView<'_>| {
            hash.update(view.bytes.as_slice());
            Ok(())
        });
        let sink = TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque);
        model.read_tensor(tensor.name.as_str().into(), sink, progress()).into_result()?;
    }
    Ok((info, hash.finalize()))
}
