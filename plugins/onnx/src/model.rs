//! An open model.

use crate::document::{Document, Tensors};
use crate::edit;
use crate::export;
use crate::held::forget_unused;
use crate::info;
use crate::proto;
use crate::quant;
use crate::quantize;
use crate::runtime::Outcome;
use crate::runtime::Runtime;
use crate::runtime::kernels::{self, Files};
use crate::runtime::piecewise::Piecewise;
use crate::runtime::plan::{Plan, Settings};
use crate::runtime::replay::Replay;
use crate::runtime::session::{Observation, Session};
use crate::source::Source;
use prost::Message;
use qp_abi::sdk::boundary::model_object;
use qp_abi::sdk::{
    BackendError, Edit, Kernels, KernelsOf, Model, ModelBox, ModelInfo, Pair, Progress, Quantizable,
    QuantizableOf, Result, RunReport, RunRequest, Sink, TensorView, watched,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A tensor is delivered in pieces of this many bytes: a whole number of elements for every type.
const PIECE_BYTES: usize = 16 << 20;

/// An open ONNX model; its session, once there is one, is kept for the next run.
#[derive(Debug)]
pub struct OnnxModel {
    source: Source,
    info: ModelInfo,
    tensors: Tensors,
    /// The index of each stored tensor by its name.
    names: HashMap<String, usize>,
    /// Tensors whose rows are stored with padding: the bytes of a row, and how many of them hold elements.
    rows: HashMap<usize, (usize, usize)>,
    runtime: Arc<Runtime>,
    session: Mutex<Option<Session>>,
    /// The session of the last capture.
    capture: Mutex<Option<Session>>,
    /// The session of profiled runs, and the folder that it writes to.
    profiled: Mutex<Option<(PathBuf, Session)>>,
    /// The last capture in pieces.
    pieces: Mutex<Option<Piecewise>>,
    /// The last runs that differ only in switches; `None` inside if the model is better run whole.
    replay: Mutex<Option<(Settings, Option<Replay>)>>,
}

impl OnnxModel {
    /// Opens the model file at `path`; loads no native library.
    ///
    /// # Errors
    /// Those of [`Document::open`].
    pub fn open(path: &Path, runtime: Arc<Runtime>, progress: &Progress<'_>) -> Result<Self> {
        Document::open(path, progress, |document| Self::of(document, runtime, progress))
    }

    fn of(document: Document, runtime: Arc<Runtime>, progress: &Progress<'_>) -> Result<Self> {
        progress.update("reading the quantization", 0, 0)?;
        let quantization = quant::analyze(&document);
        let info = info::describe(&document, &quantization)?;
        let rows =
            quantization.unpacked.iter().filter_map(|(index, unpacked)| Some((*index, unpacked.rows?)));
        let rows = rows.collect();
        let Document { source, tensors, .. } = document;
        let names =
            tensors.descriptions().iter().enumerate().map(|(index, t)| (t.name.clone(), index)).collect();
        Ok(Self {
            source,
            info,
            tensors,
            names,
            rows,
            runtime,
            session: Mutex::default(),
            capture: Mutex::default(),
            profiled: Mutex::default(),
            pieces: Mutex::default(),
            replay: Mutex::default(),
        })
    }
}

/// State kept for the next run. If a panic interrupted its use, it cannot be trusted and is made anew.
fn lock<T>(slot: &Mutex<Option<T>>) -> MutexGuard<'_, Option<T>> {
    slot.lock().unwrap_or_else(|poisoned| {
        let mut kept = PoisonError::into_inner(poisoned);
        *kept = None;
        kept
    })
}

impl OnnxModel {
    /// Computes what differs from earlier runs; `None` if the model should be run another way.
    fn replay(
        &self,
        plan: &Plan<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<Option<Outcome>> {
        if plan.settings.replay.is_none() {
            return Ok(None);
        }
        let mut kept = lock(&self.replay);
        let fits = |replay: &Replay| replay.fits(plan);
        let is_ready = kept
            .as_ref()
            .is_some_and(|(settings, replay)| *settings == plan.settings && replay.as_ref().is_none_or(fits));
        if !is_ready {
            *kept = None;
            let replay = Replay::prepare(&self.runtime, &self.source, &self.info, plan, progress)?;
            *kept = Some((plan.settings, replay));
        }
        let Some((_, replay)) = kept.as_mut() else { return Ok(None) };
        let Some(ready) = replay.as_mut() else { return Ok(None) };
        let outcome = ready.run(&self.runtime, &self.source, plan, sink, progress)?;
        if let Outcome::Stuck(_) = outcome {
            *replay = None;
        }
        Ok(Some(outcome))
    }

    /// Runs the model in pieces; `None` if it should be run whole.
    fn run_in_pieces(
        &self,
        plan: &Plan<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<Option<Outcome>> {
        let mut kept = lock(&self.pieces);
        if kept.as_ref().is_none_or(|pieces| !pieces.fits(plan)) {
            *kept = None;
            *kept = Piecewise::prepare(&self.runtime, &self.source, &self.info, plan, progress)?;
        }
        let Some(pieces) = kept.as_mut().filter(|pieces| pieces.is_cut()) else { return Ok(None) };
        // The session of a whole capture would take memory in addition to the pieces.
        *lock(&self.capture) = None;
        let outcome = pieces.run(&self.runtime, &self.source, plan, sink, progress)?;
        if let Outcome::Stuck(_) = outcome {
            pieces.give_up();
        }
        Ok(Some(outcome))
    }
}

impl OnnxModel {
    fn has_external(&self) -> bool {
        self.info.tensors.iter().any(|tensor| !tensor.external_file.is_empty())
    }

    /// Prepares a session that writes to a folder what the runtime makes of the model.
    fn observed(
        &self,
        folder: &Path,
        settings: Settings,
        is_timed: bool,
        progress: &Progress<'_>,
    ) -> Result<Session> {
        let observation = Observation { files: Files(folder), is_timed };
        Session::observed(
            &self.runtime,
            &self.source,
            self.has_external(),
            (settings, &[]),
            Some(&observation),
            progress,
        )
    }

    fn run_profiled(
        &self,
        folder: &Path,
        plan: &Plan<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        if let Some(name) = plan.captured.first() {
            return Err(BackendError::unsupported_op(format!(
                "`{name}` is no output of the model, and runs that capture layers are not profiled"
            )));
        }
        let mut kept = lock(&self.profiled);
        if kept.as_ref().is_none_or(|(of, session)| of != folder || !session.fits(plan)) {
            *kept = None;
            *kept = Some((folder.to_owned(), self.observed(folder, plan.settings, true, progress)?));
        }
        match kept.as_mut() {
            Some((_, session)) => session.run(plan, sink, progress),
            None => Err(BackendError::internal("the session was lost")),
        }
    }
}

impl OnnxModel {
    /// What `work` returns, or the error of a file that changed meanwhile.
    fn watched<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let files =
            || self.source.file().cloned().into_iter().chain(self.tensors.external().files()).collect();
        watched(files, work).unwrap_or_else(|changed| {
            // They may have been made of anything.
            *lock(&self.session) = None;
            *lock(&self.capture) = None;
            *lock(&self.profiled) = None;
            *lock(&self.pieces) = None;
            *lock(&self.replay) = None;
            Err(changed)
        })
    }
}

/// What the model does; [`Model`] watches the files meanwhile.
impl OnnxModel {
    fn read(&self, index: usize, name: &str, sink: &mut Sink<'_>, progress: &Progress<'_>) -> Result<()> {
        let info = &self.info.tensors[index];
        let elements = self.tensors.elements(index)?;
        let source = elements.source.as_deref().unwrap_or(&self.source);
        // A string, or a type of unknown width, has no element at a given byte.
        let bits = info.dtype.bits() as usize;
        let piece = if bits == 0 { usize::MAX } else { PIECE_BYTES };
        // Rows whose last block is stored whole, without its padding.
        let bytes = match self.rows.get(&index) {
            Some(&(stored, kept)) => {
                elements.bytes.chunks_exact(stored).flat_map(|row| &row[..kept]).copied().collect()
            }
            None => elements.bytes.clone(),
        };
        let total = bytes.len();
        let mut at = 0_usize;
        loop {
            source.check()?;
            let end = at.saturating_add(piece).min(total);
            let first_element = (at * 8).checked_div(bits).unwrap_or(0) as u64;
            let view = TensorView {
                first_element,
                quantization: info.quantization.as_ref(),
                ..TensorView::whole(name, info.dtype, &info.shape, &bytes[at..end])
            };
            let taken = sink.tensor(view);
            source.release(&bytes[at..end]);
            taken?;
            at = end;
            if at >= total {
                return Ok(());
            }
            progress.update("reading the tensor", at as u64, total as u64)?;
        }
    }

    fn changed(&self, edits: &[Edit], progress: &Progress<'_>) -> Result<ModelBox> {
        self.source.check()?;
        let mut model = proto::decode_model(self.source.bytes(), &self.source.name())?;
        if let Some(graph) = &mut model.graph {
            self.source.refer(&mut graph.initializer);
            if edit::need_shapes(edits) {
                edit::describe_values(graph, &self.info);
            }
        }
        let mut held = self.source.held().clone();
        let external = self.tensors.external();
        edit::apply(&mut model, &mut held, external, edits)?;
        forget_unused(&mut held, model.graph.as_ref().map_or(&[], |graph| &graph.initializer));
        let source = self.source.edited(model.encode_to_vec().into(), held);
        let document = Document::of(source)?;
        Ok(model_object(Self::of(document, Arc::clone(&self.runtime), progress)?))
    }

    fn compute(
        &self,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        if let Some(obstacle) = self.info.run_obstacle.as_ref().into_option() {
            return Err(obstacle.clone());
        }
        let mut plan = Plan::new(&self.info, request)?;
        if let Some(folder) = plan.profile {
            return self.run_profiled(folder, &plan, sink, progress);
        }
        // One whose times nobody asked for, as after an interruption, is not kept.
        *lock(&self.profiled) = None;
        let cut = match self.replay(&plan, sink, progress)? {
            None => self.run_in_pieces(&plan, sink, progress)?,
            some => some,
        };
        match cut {
            Some(Outcome::Done(report)) => return Ok(report),
            Some(Outcome::Stuck(delivered)) => {
                plan.wanted.retain(|name| !delivered.contains(*name));
                plan.captured.retain(|name| !delivered.contains(*name));
            }
            None => {}
        }
        // A capture needs its own session; that of ordinary runs is kept.
        let slot = if plan.captured.is_empty() { &self.session } else { &self.capture };
        let mut kept = lock(slot);
        if kept.as_ref().is_none_or(|session| !session.fits(&plan)) {
            *kept = None;
            *kept = Some(Session::open(&self.runtime, &self.source, self.has_external(), &plan, progress)?);
        }
        match kept.as_mut() {
            Some(session) => session.run(&plan, sink, progress),
            None => Err(BackendError::internal("the session was lost")),
        }
    }

    fn chosen_kernels(&self, of: &KernelsOf, progress: &Progress<'_>) -> Result<Kernels> {
        if let Some(obstacle) = self.info.run_obstacle.as_ref().into_option() {
            return Err(obstacle.clone());
        }
        let options = of.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings = Settings::of(options)?;
        let folder = of.folder.as_path();
        if !of.timed {
            drop(self.observed(folder, settings, false, progress)?);
            return kernels::answer(&self.info, settings, folder, None);
        }
        let profiled = lock(&self.profiled).take();
        let (_, mut session) =
            profiled.filter(|(of, session)| of == folder && session.settings() == settings).ok_or_else(
                || BackendError::invalid_input("no run with these options was profiled in this folder"),
            )?;
        let profile = session.end_profile()?;
        kernels::answer(&self.info, settings, folder, Some(&profile))
    }

    fn plan(&self, of: &QuantizableOf, progress: &Progress<'_>) -> Result<Quantizable> {
        progress.update("planning", 0, 0)?;
        self.source.check()?;
        let model = proto::decode_model(self.source.bytes(), &self.source.name())?;
        Ok(quantize::plan(&model, self.tensors.external(), &self.info, of))
    }
}

impl Model for OnnxModel {
    fn info(&self) -> Result<ModelInfo> {
        Ok(self.info.clone())
    }

    fn read_tensor(&self, name: &str, sink: &mut Sink<'_>, progress: &Progress<'_>) -> Result<()> {
        let Some(&index) = self.names.get(name) else {
            return Err(BackendError::not_found(format!(
                "`{}` has no stored tensor `{name}`",
                self.source.name()
            )));
        };
        let files = || self.source.file().cloned().into_iter().chain(self.tensors.file(index)).collect();
        watched(files, || self.read(index, name, sink, progress))?
    }

    fn edit(&self, edits: &[Edit], progress: &Progress<'_>) -> Result<ModelBox> {
        self.watched(|| self.changed(edits, progress))
    }

    fn export(&self, path: &str, options: &[Pair], progress: &Progress<'_>) -> Result<()> {
        self.watched(|| {
            export::write(&self.source, self.tensors.external(), Path::new(path), options, progress)
        })
    }

    fn run(
        &self,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        self.tensors.open_all();
        self.watched(|| self.compute(request, sink, progress))
    }

    fn kernels(&self, of: &KernelsOf, progress: &Progress<'_>) -> Result<Kernels> {
        self.tensors.open_all();
        self.watched(|| self.chosen_kernels(of, progress))
    }

    fn quantizable(&self, of: &QuantizableOf, progress: &Progress<'_>) -> Result<Quantizable> {
        self.watched(|| self.plan(of, progress))
    }
}
