//! This side of a worker: a backend and models like any other.

use super::files::Files;
use super::message::{Answer, Beginning, Change, Order, Place, Placed, from_pairs};
use super::process::{Connection, Ending, Reason, Worker};
use super::shared::{ALIGNMENT, Shared};
use super::{SHORT, TICK, Workers, lock};
use crate::backend::Manifest;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::{ROption, RResult, RSlice, RStr, RString};
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::backend::{
    Backend, Backend_TO, BackendBox, Edit, Fetch, Model, Model_TO, ModelBox, RunReport, RunRequest,
    RuntimeStatus,
};
use qp_abi::error::ErrorKind;
use qp_abi::manifest::{Pair, pair};
use qp_abi::sdk::{IDLE, PROFILE, QUANTIZABLE, READ_REAL, RUNTIME_FOLDER, STEP_STAGE, STEPS};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, ProgressRef, TensorSink_TO, TensorSinkMut};
use qp_abi::{BackendError, ModelInfo, Setup, TensorView, guard};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a worker may take to hear that it should stop.
const PATIENCE: Duration = Duration::from_secs(2);
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
    Backend_TO::from_value(Isolated { local: Arc::new(local), worker }, TD_Opaque)
}

struct Isolated {
    local: Arc<BackendBox>,
    worker: Arc<Worker>,
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
        let answer = self.local.request(name, payload, progress);
        match name.as_str() {
            IDLE => self.worker.idle(),
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

/// Where a model comes from: what a worker needs to make it again.
struct Lineage {
    id: u64,
    origin: Origin,
}

enum Origin {
    File {
        location: String,
        /// Its files as they were when they were last known to hold the model.
        files: Mutex<Files>,
        local: Arc<ModelBox>,
    },
    Edited {
        of: Arc<Lineage>,
        edits: Vec<Change>,
    },
}

impl Lineage {
    fn new(origin: Origin) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), origin })
    }

    /// The file's name.
    fn file(&self) -> &str {
        match &self.origin {
            Origin::File { location, .. } => {
                Path::new(location).file_name().and_then(|name| name.to_str()).unwrap_or(location)
            }
            Origin::Edited { of, .. } => of.file(),
        }
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

/// A model that is open in a worker.
struct Opened {
    connection: Connection,
    /// Memory for inputs.
    inputs: Option<Shared>,
    /// The file of the native runtime.
    runtime: Option<PathBuf>,
    /// How long the last run took.
    last: Option<Duration>,
}

/// Why a call of the worker failed.
enum Failure {
    /// The worker, or qp, has said why; the worker goes on.
    Told(BackendError),
    /// The two do not understand each other, or the system refuses something: the worker is not to blame, but this connection is
    /// of no more use.
    Broken(io::Error),
    /// The worker has ended.
    Lost,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof => Self::Lost,
            _ => Self::Broken(error),
        }
    }
}

/// Why a call failed, for the user.
enum Fault {
    Error(BackendError),
    /// The worker has ended, at this stage if any was told.
    Ended(Ending, String),
}

impl From<BackendError> for Fault {
    fn from(error: BackendError) -> Self {
        Self::Error(error)
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

    /// Calls the worker, which is started and given the model if need be.
    fn call<T>(
        &self,
        progress: Tell<'_>,
        work: impl FnOnce(&mut Opened, &mut Waiting<'_>) -> Result<T, Failure>,
    ) -> Result<T, Fault> {
        let mut slot = lock(&self.opened);
        let current = slot
            .take()
            .filter(|opened| self.worker.is_current(opened.connection.generation, opened.runtime.as_deref()));
        let mut opened = match current {
            Some(opened) => opened,
            None => self.open(progress)?,
        };
        opened.connection.results.begin();
        match work(&mut opened, &mut Waiting::new(&self.worker, progress)) {
            Ok(result) => {
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
                match self.worker.ending(*generation) {
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
            let sink = TensorSink_TO::from_ptr(RMut::new(&mut unwanted), TD_Opaque);
            opened.run(&steps, sink, waiting)
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
        let mut opened = Opened { connection, inputs: None, runtime, last: None };
        opened.connection.results.begin();
        let made = self.lineage.make(&mut opened.connection, &mut Waiting::new(&self.worker, progress));
        match made {
            Ok(()) => Ok(opened),
            // A model that could not be opened is tried anew.
            Err(failure) => Err(self.fault(failure, opened, &mut None)),
        }
    }
}

impl Lineage {
    /// Makes sure that the worker will find what is open here: a file that was only touched, or replaced by its like.
    fn check(&self, backend: &BackendBox, tell: Tell<'_>) -> Result<(), BackendError> {
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
    fn make(&self, connection: &mut Connection, waiting: &mut Waiting<'_>) -> Result<(), Failure> {
        let mut steps = Vec::new();
        let mut at = self;
        while let Origin::Edited { of, edits } = &at.origin {
            steps.push((at.id, of, edits));
            at = of;
        }
        let Origin::File { location, files, .. } = &at.origin else { return Ok(()) };
        let mut known = None;
        if !steps.is_empty() {
            connection.link.send(&Order::Which(steps.iter().map(|(_, of, _)| of.id).collect()))?;
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
        for (id, of, edits) in steps.into_iter().take(due).rev() {
            connection.link.send(&Order::Edit { id, of: of.id, edits: edits.into() })?;
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

/// An answer that does not fit the order.
fn unfit(answer: Answer) -> Failure {
    Failure::Told(match answer {
        Answer::Failed(fault) => fault.into(),
        _ => BackendError::internal("the worker answered something else"),
    })
}

/// Takes progress, and says whether to stop; an empty stage only asks.
type Tell<'a> = &'a (dyn Fn(&str, u64, u64) -> bool + Sync);

fn tell(progress: &ProgressRef<'_>) -> impl Fn(&str, u64, u64) -> bool {
    |stage, done, total| progress.update(stage.into(), done, total)
}

/// Waits for answers; meanwhile passes on progress and Ctrl-C, and keeps to the time limit.
struct Waiting<'a> {
    worker: &'a Worker,
    progress: Tell<'a>,
    begun: Instant,
    looked: Instant,
    noted: u64,
    /// When it was told to stop.
    stopped: Option<Instant>,
}

impl<'a> Waiting<'a> {
    fn new(worker: &'a Worker, progress: Tell<'a>) -> Self {
        let now = Instant::now();
        Self { worker, progress, begun: now, looked: now, noted: 0, stopped: None }
    }

    /// The next answer.
    fn answer(&mut self, connection: &mut Connection) -> Result<Answer, Failure> {
        loop {
            if self.looked.elapsed() >= TICK {
                self.look(connection)?;
            }
            if let Some(answer) = connection.link.receive(Some(TICK))? {
                return Ok(answer);
            }
        }
    }

    fn done(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        match self.answer(connection)? {
            Answer::Done => Ok(()),
            other => Err(unfit(other)),
        }
    }

    fn look(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.looked = Instant::now();
        let is_cancelled = match connection.results.noted(self.noted) {
            Some((sequence, stage, done, total)) => {
                self.noted = sequence;
                (self.progress)(&stage, done, total)
            }
            None => (self.progress)("", 0, 0),
        };
        if is_cancelled && self.stopped.is_none() {
            connection.results.stop();
            self.stopped = Some(Instant::now());
        }
        let reason = match self.stopped {
            Some(since) if is_cancelled && since.elapsed() > PATIENCE => Reason::Cancelled,
            _ if self.worker.workers.time_limit.is_some_and(|limit| self.begun.elapsed() > limit) => {
                Reason::TimeLimit
            }
            _ => return Ok(()),
        };
        self.worker.end(connection.generation, reason);
        Err(Failure::Lost)
    }

    /// Asks the worker to stop: nothing more is wanted.
    fn stop(&mut self, connection: &Connection) {
        connection.results.stop();
        self.stopped.get_or_insert_with(Instant::now);
    }
}

impl Opened {
    /// Puts the inputs where the worker finds them.
    fn placed(&mut self, request: &RunRequest<'_>) -> Result<Vec<Placed>, Failure> {
        let is_text = |view: &TensorView<'_>| view.dtype.bits() == 0;
        let room: usize = request
            .inputs
            .iter()
            .filter(|view| !is_text(view))
            .map(|view| view.bytes.len().next_multiple_of(ALIGNMENT))
            .sum();
        if self.inputs.as_ref().is_none_or(|memory| memory.len() < room) && room > 0 {
            let memory = Shared::new(room.checked_next_power_of_two().unwrap_or(room))?;
            self.connection.link.send_with(&Order::Memory, &[memory.descriptor()])?;
            self.inputs = Some(memory);
        }
        let (mut offset, mut placed) = (0, Vec::new());
        for view in request.inputs.iter() {
            let place = match self.inputs.as_ref().filter(|_| !is_text(view)) {
                Some(memory) => {
                    memory.write(offset, view.bytes.as_slice())?;
                    Place::Shared { offset, bytes: view.bytes.len() }
                }
                None => Place::Here(view.bytes.to_vec()),
            };
            if matches!(place, Place::Shared { .. }) {
                offset += view.bytes.len().next_multiple_of(ALIGNMENT);
            }
            placed.push(Placed::of(view, view.first_element, place));
        }
        Ok(placed)
    }

    fn run(
        &mut self,
        request: &RunRequest<'_>,
        mut sink: TensorSinkMut<'_>,
        waiting: &mut Waiting<'_>,
    ) -> Result<RunReport, Failure> {
        let inputs = self.placed(request)?;
        let connection = &mut self.connection;
        // Only a short run is shorter than being woken.
        connection.link.attention =
            self.last.filter(|last| *last < SHORT).map_or(Duration::ZERO, |_| 2 * SHORT);
        let begun = Instant::now();
        connection.link.send(&Order::Run {
            inputs,
            fetch: request.fetch.0,
            names: request.names.iter().map(|name| name.as_str().to_owned()).collect(),
            options: from_pairs(request.options.as_slice()),
        })?;
        let mut failure: Option<BackendError> = None;
        loop {
            match waiting.answer(connection)? {
                Answer::Piece(placed) => {
                    if failure.is_some() {
                        continue;
                    }
                    let parameters = placed.parameters();
                    let bytes = match &placed.place {
                        Place::Here(bytes) => bytes.as_slice(),
                        Place::Shared { offset, bytes } => connection.results.read(*offset, *bytes)?,
                    };
                    let view = placed.view(bytes, parameters.as_ref());
                    if let Err(error) = sink.tensor(view).into_result() {
                        failure = Some(error);
                        waiting.stop(connection);
                    }
                }
                Answer::Full => connection.link.send(&Order::Free(failure.is_none()))?,
                answer => {
                    return match (failure, answer) {
                        (Some(error), _) => Err(Failure::Told(error)),
                        (None, Answer::Ran(ran)) => {
                            self.last = Some(begun.elapsed());
                            Ok(ran.into())
                        }
                        (None, other) => Err(unfit(other)),
                    };
                }
            }
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
        sink: TensorSinkMut<'_>,
        progress: ProgressRef<'_>,
    ) -> RResult<RunReport, BackendError> {
        if !self.worker.is_possible() {
            return self.local.run(request, sink, progress);
        }
        guard::catch_in("qp", || {
            let tell = tell(&progress);
            let ran = self.call(&tell, |opened, waiting| opened.run(&request, sink, waiting));
            ran.map_err(|fault| self.explained(self.located(fault, &request, &tell)))
        })
        .into()
    }

    fn edit(&self, edits: RSlice<'_, Edit>, progress: ProgressRef<'_>) -> RResult<ModelBox, BackendError> {
        let local = self.local.edit(edits, progress).into_result();
        let made = |local| {
            let edits = edits.iter().map(Change::from).collect();
            let origin = Origin::Edited { of: Arc::clone(&self.lineage), edits };
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
