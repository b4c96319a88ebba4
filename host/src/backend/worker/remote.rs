//! This side of a worker: a backend and models like any other.

use super::call::{Failure, Opened, Tell, Waiting, tell, unfit};
use super::files::Files;
use super::lineage::{Lineage, Origin};
use super::message::{Answer, Beginning, Change, Order, from_pairs};
use super::process::{Connection, Ending, Unconnected, Worker};
use super::{SHORT, Workers, lock};
use crate::backend::Manifest;
use qp_abi::abi_stable::RMut;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString};
use qp_abi::backend::{
    Backend, Backend_TO, BackendBox, Edit, Fetch, Model, Model_TO, ModelBox, RunReport, RunRequest,
    RuntimeStatus,
};
use qp_abi::error::ErrorKind;
use qp_abi::manifest::{Pair, pair};
use qp_abi::sdk::{IDLE, PROFILE, QUANTIZABLE, READ_REAL, RUNTIME_FOLDER, STEP_STAGE, STEPS};
use qp_abi::sink::{FnSink, ProgressRef, TensorSink_TO, TensorSinkMut};
use qp_abi::{BackendError, ModelInfo, Setup, TensorView, guard};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long to look for the layer in which a runtime has crashed.
const LOCATING: Duration = Duration::from_secs(10);
/// The requests that only read the file; all others may need the runtime.
const READS: [&str; 3] = [QUANTIZABLE, READ_REAL, "code/1"];

/// A backend that reads files here and runs models in a worker.
pub(in crate::backend) fn isolate(
    local: BackendBox,
    manifest: &Manifest,
    setup: &Setup,
    workers: &Workers,
) -> BackendBox {
    let texts = |list: &[RString]| list.iter().map(|text| text.as_str().to_owned()).collect();
    let beginning = Beginning {
        library: setup.library_path.as_str().to_owned(),
        runtime_folders: texts(&setup.runtime_folders),
        settings: from_pairs(&setup.settings),
        more_folders: Vec::new(),
        memory_limit: workers.memory_limit,
    };
    let worker = Arc::new(Worker::new(workers.clone(), beginning, manifest.has_feature(STEPS)));
    let has_idle = manifest.has_feature(crate::backend::runtime::IDLE);
    Backend_TO::from_value(Isolated { local: Arc::new(local), worker, has_idle }, TD_Opaque)
}

struct Isolated {
    local: Arc<BackendBox>,
    worker: Arc<Worker>,
    /// Whether the plugin wants to know that no run follows for now.
    has_idle: bool,
}

impl Backend for Isolated {
    fn probe(&self, head: RSlice<'_, u8>, file_name: RStr<'_>) -> RResult<ROption<RString>, BackendError> {
        self.local.probe(head, file_name)
    }

    fn inspect(
        &self,
        location: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelInfo, BackendError> {
        self.local.inspect(location, options, progress)
    }

    fn runtime(&self) -> RResult<RuntimeStatus, BackendError> {
        let status = self.local.runtime().into_result();
        status
            .map(|status| RuntimeStatus { is_loaded: status.is_loaded || self.worker.is_running(), ..status })
            .into()
    }

    fn open(
        &self,
        location: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<ModelBox, BackendError> {
        let files = Files::of(Path::new(location.as_str()));
        let local = self.local.open(location, options, progress).into_result();
        let of_file = |local| {
            let (location, files, local) = (location.as_str().to_owned(), Mutex::new(files), Arc::new(local));
            let origin = Origin::File { location, files, local: Arc::clone(&local) };
            Remote::object(local, &self.local, &self.worker, Lineage::new(origin))
        };
        local.map(of_file).into()
    }

    fn request(
        &self,
        name: RStr<'_>,
        payload: RStr<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RString, BackendError> {
        if name == IDLE {
            self.worker.idle(self.has_idle);
            if !self.has_idle {
                return RResult::ROk("{}".into());
            }
        }
        let answer = self.local.request(name, payload, progress);
        match name.as_str() {
            RUNTIME_FOLDER if answer.is_ok() => {
                let payload: Result<serde_json::Value, _> = serde_json::from_str(payload.as_str());
                if let Some(folder) = payload.ok().as_ref().and_then(|payload| payload["folder"].as_str()) {
                    self.worker.add_folder(folder);
                }
            }
            _ => {}
        }
        answer
    }
}

/// A model that is read here and runs in a worker.
struct Remote {
    local: Arc<ModelBox>,
    backend: Arc<BackendBox>,
    worker: Arc<Worker>,
    lineage: Arc<Lineage>,
    opened: Mutex<Option<Opened>>,
}

/// Why a call failed, for the user.
enum Fault {
    Error(BackendError),
    /// The worker has ended, at this stage if any was told.
    Ended(Ending, String),
    /// The worker had ended before it took the call up.
    Missed(Ending),
}

impl From<BackendError> for Fault {
    fn from(error: BackendError) -> Self {
        Self::Error(error)
    }
}

impl From<Unconnected> for Fault {
    fn from(reason: Unconnected) -> Self {
        match reason {
            Unconnected::Failed(error) => Self::Error(error),
            Unconnected::Ended(ending) => Self::Ended(ending, String::new()),
        }
    }
}

/// The layer that a stage names.
fn layer_of(stage: &str) -> Option<&str> {
    stage.strip_prefix(STEP_STAGE)
}

impl Remote {
    fn object(
        local: Arc<ModelBox>,
        backend: &Arc<BackendBox>,
        worker: &Arc<Worker>,
        lineage: Arc<Lineage>,
    ) -> ModelBox {
        let (backend, worker) = (Arc::clone(backend), Arc::clone(worker));
        let remote = Self { local, backend, worker, lineage, opened: Mutex::default() };
        Model_TO::from_value(remote, TD_Opaque)
    }

    /// Calls the worker, which is started and given the model if need be. One that ended before it took the call up is no news: it
    /// may take a while to die.
    fn call<T>(
        &self,
        progress: Tell<'_>,
        mut work: impl FnMut(&mut Opened, &mut Waiting<'_>) -> Result<T, Failure>,
    ) -> Result<T, Fault> {
        match self.attempt(progress, &mut work) {
            Err(Fault::Missed(_)) => match self.attempt(progress, &mut work) {
                Err(Fault::Missed(ending)) => Err(Fault::Ended(ending, String::new())),
                result => result,
            },
            result => result,
        }
    }

    fn attempt<T>(
        &self,
        progress: Tell<'_>,
        work: &mut dyn FnMut(&mut Opened, &mut Waiting<'_>) -> Result<T, Failure>,
    ) -> Result<T, Fault> {
        let mut slot = lock(&self.opened);
        let current = slot.take().and_then(|opened| {
            let is_repeated = opened.answered.elapsed() < SHORT;
            let generation = opened.connection.generation;
            let is_current = self.worker.is_current(generation, opened.runtime.as_deref(), is_repeated);
            is_current.then_some(opened)
        });
        let mut opened = match current {
            Some(opened) => opened,
            None => self.open(progress)?,
        };
        opened.connection.results.begin();
        match work(&mut opened, &mut Waiting::new(&self.worker, progress)) {
            Ok(result) => {
                opened.answered = Instant::now();
                self.worker.use_now();
                *slot = Some(opened);
                Ok(result)
            }
            Err(failure) => Err(self.fault(failure, opened, &mut slot)),
        }
    }

    /// What a failed call leaves; keeps the connection in `slot` if it is of use.
    fn fault(&self, failure: Failure, opened: Opened, slot: &mut Option<Opened>) -> Fault {
        match failure {
            Failure::Told(error) => {
                *slot = Some(opened);
                Fault::Error(error)
            }
            Failure::Broken(error) => Fault::Error(
                BackendError::new(ErrorKind::IO, "the process for runs cannot be used")
                    .with_cause(error.to_string())
                    .with_help(
                        "Set `isolation = \"none\"` in config.toml to run models in qp's own process.",
                    ),
            ),
            Failure::Lost => {
                let Connection { generation, results, .. } = &opened.connection;
                let stage = results.noted(0).map_or_else(String::new, |(_, stage, ..)| stage);
                let was_in_use = self.worker.release();
                match self.worker.ending(*generation) {
                    Some(ending) if ending.is_unasked() && !was_in_use && !results.is_taken_up() => {
                        Fault::Missed(ending)
                    }
                    Some(ending) => Fault::Ended(ending, stage),
                    None => Fault::Error(self.worker.gone()),
                }
            }
        }
    }

    /// The error of a call.
    fn explained(&self, fault: Fault) -> BackendError {
        let (ending, stage) = match fault {
            Fault::Error(error) => return error,
            Fault::Ended(ending, stage) => (ending, stage),
            Fault::Missed(ending) => (ending, String::new()),
        };
        let file = self.lineage.file();
        if let Some(layer) = layer_of(&stage) {
            return self.worker.told(&ending, &format!("in the layer `{layer}` of `{file}`"));
        }
        let error = self.worker.told(&ending, &format!("with `{file}`"));
        if stage.is_empty() { error } else { error.with_cause(format!("it was at: {stage}")) }
    }

    /// After a crash: runs the model once more, layer by layer and for a limited time, to learn in which it happens. Gives the
    /// fault with what was found.
    fn located(&self, fault: Fault, request: &RunRequest<'_>, progress: Tell<'_>) -> Fault {
        let Fault::Ended(ending, stage) = fault else { return fault };
        if !ending.is_crash() || !self.worker.has_steps || layer_of(&stage).is_some() {
            return Fault::Ended(ending, stage);
        }
        let _alone = lock(&self.worker.locating);
        let begun = Instant::now();
        // Its own stages are those of a run.
        let within = |_: &str, _, _| progress("looking for the layer", 0, 0) || begun.elapsed() > LOCATING;
        let kept = request.options.iter().filter(|option| option.0 != PROFILE).cloned();
        let options: Vec<Pair> = kept.chain([pair(STEPS, "true")]).collect();
        let steps = RunRequest {
            fetch: Fetch::LAYERS,
            names: RSlice::EMPTY,
            options: RSlice::from_slice(&options),
            ..*request
        };
        let mut unwanted = FnSink(|_: TensorView<'_>| Ok(()));
        let again = self.call(&within, |opened, waiting| {
            let mut sink = TensorSink_TO::from_ptr(RMut::new(&mut unwanted), TD_Opaque);
            opened.run(&steps, &mut sink, waiting)
        });
        match again {
            // The same crash, in a layer.
            Err(Fault::Ended(again, at)) if again.is_crash() && layer_of(&at).is_some() => {
                Fault::Ended(ending, at)
            }
            _ => Fault::Ended(ending, stage),
        }
    }

    /// Opens the model in the worker.
    fn open(&self, progress: Tell<'_>) -> Result<Opened, Fault> {
        let status = self.backend.runtime().into_result().ok();
        if let Some(status) = &status {
            self.worker.name_runtime(&status.name);
        }
        let runtime = status.map(|status| PathBuf::from(status.path.as_str()));
        self.lineage.check(&self.backend, progress)?;
        let connection = self.worker.connect(runtime.as_deref(), &|| progress("", 0, 0))?;
        let mut opened = Opened::new(connection, runtime);
        opened.connection.results.begin();
        let made = self.lineage.make(&mut opened.connection, &mut Waiting::new(&self.worker, progress));
        match made {
            Ok(()) => {
                self.worker.use_now();
                Ok(opened)
            }
            // A model that could not be opened is tried anew.
            Err(failure) => Err(self.fault(failure, opened, &mut None)),
        }
    }
}

impl Model for Remote {
    fn info(&self) -> RResult<ModelInfo, BackendError> {
        let info = self.local.info();
        if let (RResult::ROk(info), Origin::File { files, .. }) = (&info, &self.lineage.origin) {
            lock(files).add_external(info);
        }
        info
    }

    fn read_tensor(
        &self,
        name: RStr<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<(), BackendError> {
        self.local.read_tensor(name, sink, progress)
    }

    fn run(
        &self,
        request: RunRequest<'_>,
        mut sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RunReport, BackendError> {
        if !self.worker.is_possible() {
            return self.local.run(request, sink, progress);
        }
        guard::catch_in("qp", || {
            let tell = tell(&progress);
            let ran = self.call(&tell, |opened, waiting| opened.run(&request, &mut sink, waiting));
            ran.map_err(|fault| self.explained(self.located(fault, &request, &tell)))
        })
        .into()
    }

    fn edit(&self, edits: RSlice<'_, Edit>, progress: ProgressRef<'_>) -> RResult<ModelBox, BackendError> {
        let local = self.local.edit(edits, progress).into_result();
        let made = |local| {
            let (edits, memory) = Change::all_of(&edits);
            let origin = Origin::Edited { of: Arc::clone(&self.lineage), edits, memory };
            Self::object(Arc::new(local), &self.backend, &self.worker, Lineage::new(origin))
        };
        local.map(made).into()
    }

    fn export(
        &self,
        path: RStr<'_>,
        options: RSlice<'_, Pair>,
        progress: ProgressRef<'_>,
    ) -> RResult<(), BackendError> {
        self.local.export(path, options, progress)
    }

    fn request(
        &self,
        name: RStr<'_>,
        payload: RStr<'_>,
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RString, BackendError> {
        if READS.contains(&name.as_str()) || !self.worker.is_possible() {
            return self.local.request(name, payload, sink, progress);
        }
        let order = Order::Request { name: name.as_str().to_owned(), payload: payload.as_str().to_owned() };
        guard::catch_in("qp", || {
            let answered = self.call(&tell(&progress), |opened, waiting| {
                opened.connection.link.send(&order)?;
                match waiting.answer(&mut opened.connection)? {
                    Answer::Text(text) => Ok(RString::from(text)),
                    other => Err(unfit(other)),
                }
            });
            answered.map_err(|fault| self.explained(fault))
        })
        .into()
    }
}
