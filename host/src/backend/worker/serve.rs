//! The worker: opens the plugin's library and does what qp asks for. It ends when qp does.

use super::check;
use super::files::Files;
use super::link::Link;
use super::message::{Answer, Beginning, Control, Order, Placed, fetch, to_pairs};
use super::sending::{Sending, Slots};
use super::shared::Shared;
use super::{SHORT, lock};
use crate::backend::load;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::{RResult, RSlice, RStr, RString};
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::backend::{BackendBox, Edit, ModelBox, RunRequest};
use qp_abi::manifest::Pair;
use qp_abi::sdk::{IDLE, RUNTIME_FOLDER};
use qp_abi::sink::{Progress, Progress_TO, TensorSink, TensorSink_TO};
use qp_abi::{BackendError, QuantizationParameters, TensorView, guard};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Resource, Rlimit, Signal};
use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Stack of a thread that runs a model: runtimes recurse over graphs.
const STACK_BYTES: usize = 64 << 20;
/// The kernel ends a worker before the session, whatever each takes.
const FIRST_TO_END: &str = "900";

/// The open models, by number.
type Models = Arc<Mutex<HashMap<u64, Arc<ModelBox>>>>;

/// Serves the qp at the other end of standard input.
///
/// # Errors
/// When there is none.
pub fn serve() -> io::Result<()> {
    let input = rustix::stdio::stdin().try_clone_to_owned()?;
    let stream = UnixStream::from(input);
    if stream.peer_addr().is_err() {
        return Err(io::Error::other(
            "a worker is started by qp itself, with a socket as its standard input",
        ));
    }
    end_with(stream.try_clone()?)?;
    // A library that reads from standard input must not take what is meant for the worker.
    if let Ok(nothing) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(nothing);
    }
    let mut control = Link::new(stream);
    let beginning = match control.receive(None)? {
        Some(Control::Start(beginning)) => beginning,
        Some(Control::Check(checking)) => return check::serve(&mut control, &checking),
        _ => return Err(io::Error::other("the first message is not a beginning")),
    };
    restrict(&beginning);
    let backend = match guard::catch(|| make(&beginning)) {
        Ok(backend) => Arc::new(backend),
        Err(error) => return control.send(&Answer::Failed(error.into())),
    };
    control.send(&Answer::Done)?;
    let models = Models::default();
    loop {
        match control.receive(None) {
            Ok(Some(Control::Model)) => {
                let stream = UnixStream::from(control.descriptor()?);
                let results = Shared::received(control.descriptor()?)?;
                let (backend, models) = (Arc::clone(&backend), Arc::clone(&models));
                std::thread::Builder::new().name("model".to_owned()).stack_size(STACK_BYTES).spawn(
                    move || {
                        // Its end is that of the socket: qp sees it.
                        let _ = Served::new(backend, models, stream, results).serve();
                    },
                )?;
            }
            Ok(Some(Control::Folder(folder))) => add_folder(&backend, &folder),
            Ok(Some(Control::Idle)) => {
                let _ = backend.request(
                    IDLE.into(),
                    "{}".into(),
                    Progress_TO::from_ptr(RRef::new(&Quiet), TD_Opaque),
                );
            }
            Ok(Some(Control::Start(_) | Control::Check(_)) | None) => {}
            // qp has ended, or has let go of this worker. Threads may be in the middle of native code: no destructor is run.
            Err(_) => end(),
        }
    }
}

/// Ends this process when the other side of its socket does, whatever its threads are doing.
fn end_with(stream: UnixStream) -> io::Result<()> {
    let watch = move || loop {
        let mut wanted = [PollFd::new(&stream, PollFlags::empty())];
        match rustix::event::poll(&mut wanted, None) {
            Ok(_) if wanted.iter().any(|found| !found.revents().is_empty()) => end(),
            _ => {}
        }
    };
    std::thread::Builder::new().name("watch".to_owned()).spawn(watch).map(drop)
}

/// Ends this process at once.
fn end() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    std::process::abort()
}

/// What keeps a worker from harming the rest of the machine. What the system does not grant is left out.
fn restrict(beginning: &Beginning) {
    let _ = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_END);
    let limit = |resource, bytes| {
        let _ = rustix::process::setrlimit(resource, Rlimit { current: Some(bytes), maximum: Some(bytes) });
    };
    // A crash is expected: its memory need not be written to a file.
    limit(Resource::Core, 0);
    if let Some(bytes) = beginning.memory_limit {
        limit(Resource::As, bytes);
    }
}

fn make(beginning: &Beginning) -> Result<BackendBox, BackendError> {
    let library = load::open(Path::new(&beginning.library)).map_err(|error| {
        let found = BackendError::runtime_failed(error.message());
        error.causes().iter().fold(found, |found, cause| found.with_cause(cause.clone()))
    })?;
    let backend = (library.create())(beginning.setup()).into_result()?;
    beginning.more_folders.iter().for_each(|folder| add_folder(&backend, folder));
    Ok(backend)
}

fn add_folder(backend: &BackendBox, folder: &str) {
    let payload = serde_json::json!({ "folder": folder }).to_string();
    let progress = Progress_TO::from_ptr(RRef::new(&Quiet), TD_Opaque);
    // The backend in qp's own process has taken it, or has said why not.
    let _ = backend.request(RUNTIME_FOLDER.into(), payload.as_str().into(), progress);
}

struct Quiet;

impl Progress for Quiet {
    fn update(&self, _stage: RStr<'_>, _done: u64, _total: u64) -> bool {
        false
    }
}

/// One model, with its end of the socket.
struct Served {
    backend: Arc<BackendBox>,
    models: Models,
    link: Link,
    results: Shared,
    inputs: Option<Shared>,
    model: Option<(u64, Arc<ModelBox>)>,
    slots: Slots,
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some((id, _)) = &self.model {
            lock(&self.models).remove(id);
        }
    }
}

impl Served {
    fn new(backend: Arc<BackendBox>, models: Models, stream: UnixStream, results: Shared) -> Self {
        Self {
            backend,
            models,
            link: Link::new(stream),
            results,
            inputs: None,
            model: None,
            slots: Slots::default(),
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let Some(order) = self.link.receive(None)? else { continue };
            // The end of an earlier run, and memory for the next one, are no work.
            if !matches!(order, Order::Free(_) | Order::Memory) {
                self.results.take_up();
            }
            let begun = Instant::now();
            let answer = match order {
                // It was on its way when the run ended.
                Order::Free(_) => continue,
                Order::Memory => {
                    self.inputs = Some(Shared::received(self.link.descriptor()?)?);
                    continue;
                }
                Order::Which(ids) => {
                    let models = lock(&self.models);
                    Ok(Answer::Known(ids.iter().position(|id| models.contains_key(id))))
                }
                Order::Open { id, location, files } => {
                    self.open(&location, &files).map(|model| self.keep(id, model))
                }
                Order::Edit { id, of, edits, has_memory } => {
                    let memory = match has_memory {
                        true => Some(Shared::received(self.link.descriptor()?)?),
                        false => None,
                    };
                    let edits = edits.into_owned().into_iter().map(|change| change.edit(memory.as_ref()));
                    let edits = edits.collect::<io::Result<_>>()?;
                    drop(memory);
                    self.edit(of, edits).map(|model| self.keep(id, model))
                }
                Order::Run { inputs, fetch: code, names, options } => {
                    self.run(&inputs, code, &names, &options)?
                }
                Order::Request { name, payload } => self.request(&name, &payload),
            };
            let answer = answer.unwrap_or_else(|error| Answer::Failed(error.into()));
            self.link.send(&answer)?;
            // Short orders often come one after the other.
            self.link.attention = if begun.elapsed() < SHORT { SHORT } else { Duration::ZERO };
        }
    }

    fn keep(&mut self, id: u64, model: ModelBox) -> Answer {
        let model = Arc::new(model);
        let mut models = lock(&self.models);
        if let Some((old, _)) = &self.model {
            models.remove(old);
        }
        models.insert(id, Arc::clone(&model));
        drop(models);
        self.model = Some((id, model));
        Answer::Done
    }

    fn open(&self, location: &str, files: &Files) -> Result<ModelBox, BackendError> {
        let now = files.now();
        if *files != now {
            return Err(files.changed(&now));
        }
        let watch = Watch::of(&self.results);
        self.backend.open(location.into(), RSlice::EMPTY, watch.as_object()).into_result()
    }

    fn edit(&self, of: u64, edits: Vec<Edit>) -> Result<ModelBox, BackendError> {
        let known = lock(&self.models).get(&of).cloned();
        let model = known.ok_or_else(|| BackendError::internal("the model to change is not open"))?;
        let watch = Watch::of(&self.results);
        model.edit(edits.as_slice().into(), watch.as_object()).into_result()
    }

    fn model(&self) -> Result<Arc<ModelBox>, BackendError> {
        let model = self.model.as_ref().map(|(_, model)| Arc::clone(model));
        model.ok_or_else(|| BackendError::internal("no model is open"))
    }

    /// The outer error is one of the socket.
    fn run(
        &mut self,
        inputs: &[Placed],
        code: u8,
        names: &[String],
        options: &[(String, String)],
    ) -> io::Result<Result<Answer, BackendError>> {
        let model = match self.model() {
            Ok(model) => model,
            Err(error) => return Ok(Err(error)),
        };
        let parameters: Vec<Option<QuantizationParameters>> = inputs.iter().map(Placed::parameters).collect();
        let mut views: Vec<TensorView<'_>> = Vec::new();
        for (input, parameters) in inputs.iter().zip(&parameters) {
            let bytes = input.place.bytes(self.inputs.as_ref())?;
            views.push(input.view(bytes, parameters.as_ref()));
        }
        let names: Vec<RString> = names.iter().map(|name| name.as_str().into()).collect();
        let options: Vec<Pair> = to_pairs(options);
        let request = RunRequest {
            inputs: views.as_slice().into(),
            fetch: fetch(code),
            names: names.as_slice().into(),
            options: options.as_slice().into(),
        };
        let watch = Watch::of(&self.results);
        let mut sink = Sending::new(&mut self.link, &self.results, &mut self.slots);
        let object = TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque);
        let answer = model.run(request, object, watch.as_object()).into_result();
        match sink.into_failure() {
            Some(failure) => Err(failure),
            None => Ok(answer.map(|report| Answer::Ran(report.into()))),
        }
    }

    fn request(&self, name: &str, payload: &str) -> Result<Answer, BackendError> {
        let watch = Watch::of(&self.results);
        let mut unasked = Refusing;
        let sink = TensorSink_TO::from_ptr(RMut::new(&mut unasked), TD_Opaque);
        let answer = self.model()?.request(name.into(), payload.into(), sink, watch.as_object());
        answer.into_result().map(|text| Answer::Text(text.into_string()))
    }
}

/// Notes progress in the shared memory, and reads there whether to stop.
struct Watch<'a> {
    memory: &'a Shared,
    noting: Mutex<()>,
}

impl<'a> Watch<'a> {
    fn of(memory: &'a Shared) -> Self {
        Self { memory, noting: Mutex::new(()) }
    }

    fn as_object(&self) -> qp_abi::sink::ProgressRef<'_> {
        Progress_TO::from_ptr(RRef::new(self), TD_Opaque)
    }
}

impl Progress for Watch<'_> {
    fn update(&self, stage: RStr<'_>, done: u64, total: u64) -> bool {
        if !stage.is_empty() {
            let _alone = lock(&self.noting);
            self.memory.note(stage.as_str(), done, total);
        }
        self.memory.is_stop_wanted()
    }
}

/// No request that goes to a worker answers with tensors.
struct Refusing;

impl TensorSink for Refusing {
    fn tensor(&mut self, view: TensorView<'_>) -> RResult<(), BackendError> {
        RResult::RErr(BackendError::internal(format!("`{}` was not asked for", view.name)))
    }
}
