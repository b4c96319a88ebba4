//! The worker of one plugin: its start, its end, and what it left behind.

use super::link::Link;
use super::message::{Answer, Beginning, Control};
use super::shared::Shared;
use super::{TICK, Workers, lock};
use crate::cache::Stamp;
use qp_abi::BackendError;
use qp_abi::error::ErrorKind;
use signal_hook::consts;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

/// How much of what a worker printed is kept.
const KEPT_BYTES: usize = 16 << 10;
/// How long a worker whose socket has ended may take to end itself.
const DYING: Duration = Duration::from_millis(500);
/// How long a worker may take to open the plugin.
const STARTING: Duration = Duration::from_secs(60);

/// The worker of a plugin, if one is running.
pub(super) struct Worker {
    pub(super) workers: Workers,
    library: PathBuf,
    /// The name of the native runtime, for messages, once a model was opened.
    runtime: OnceLock<String>,
    /// Whether memory can be shared: files may not be as large.
    can_share: OnceLock<bool>,
    state: Mutex<State>,
    /// Whether the plugin has the feature `steps`.
    pub(super) has_steps: bool,
    /// Held while the layer of a crash is looked for: other crashes would be taken for it.
    pub(super) locating: Mutex<()>,
    /// Whether the worker has answered a call of the command that runs: if it ends now, also between two calls, that is news.
    is_in_use: AtomicBool,
}

struct State {
    beginning: Beginning,
    /// Counts the workers.
    generation: u64,
    process: Option<Process>,
    /// How the last one ended, with its number.
    last: Option<(u64, Ending)>,
    /// The memory for results of each connection.
    results: Vec<Weak<Shared>>,
}

pub(super) struct Process {
    child: Child,
    pub(super) control: Link,
    heard: Arc<Mutex<Vec<u8>>>,
    /// The plugin's library and the runtime when it was started.
    stamps: [Option<Stamp>; 2],
    /// When these were last compared with the files.
    compared: Instant,
}

/// Why qp ends a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The user's Ctrl-C was not heard.
    Cancelled,
    /// A run took longer than the limit.
    TimeLimit,
}

/// How a worker ended.
#[derive(Clone)]
pub(super) struct Ending {
    status: Option<ExitStatus>,
    reason: Option<Reason>,
    heard: String,
}

impl Ending {
    /// Whether qp did not end it.
    pub(super) fn is_unasked(&self) -> bool {
        self.reason.is_none()
    }

    /// Whether what it ran ended it: neither qp nor the system did.
    pub(super) fn is_crash(&self) -> bool {
        self.is_unasked() && self.status.is_some_and(|status| status.signal() != Some(consts::SIGKILL))
    }
}

/// Why there is no connection.
pub(super) enum Unconnected {
    Failed(BackendError),
    /// The worker has ended, between two calls of a command.
    Ended(Ending),
}

impl From<BackendError> for Unconnected {
    fn from(error: BackendError) -> Self {
        Self::Failed(error)
    }
}

/// A connection for one model.
pub(super) struct Connection {
    /// The number of the worker.
    pub(super) generation: u64,
    pub(super) link: Link,
    pub(super) results: Arc<Shared>,
}

impl Worker {
    /// The worker to be of this plugin; none is started yet.
    pub(super) fn new(workers: Workers, beginning: Beginning, has_steps: bool) -> Self {
        let state = State { beginning, generation: 0, process: None, last: None, results: Vec::new() };
        let library = PathBuf::from(&state.beginning.library);
        let (runtime, can_share) = (OnceLock::new(), OnceLock::new());
        Self {
            workers,
            library,
            runtime,
            can_share,
            state: Mutex::new(state),
            has_steps,
            locating: Mutex::default(),
            is_in_use: AtomicBool::new(false),
        }
    }

    /// Notes that it has answered a call.
    pub(super) fn use_now(&self) {
        self.is_in_use.store(true, Ordering::Relaxed);
    }

    /// Notes that its end is known, or its command over; says whether it was in use.
    pub(super) fn release(&self) -> bool {
        self.is_in_use.swap(false, Ordering::Relaxed)
    }

    /// Gives the native runtime its name for messages.
    pub(super) fn name_runtime(&self, name: &str) {
        if !name.is_empty() {
            self.runtime.get_or_init(|| name.to_owned());
        }
    }

    fn runtime(&self) -> &str {
        self.runtime.get().map_or("the backend", String::as_str)
    }

    /// Whether there can be a worker: its memory counts as a file, which the user may not be allowed.
    pub(super) fn is_possible(&self) -> bool {
        *self.can_share.get_or_init(|| Shared::for_results().is_ok())
    }

    /// Passes a folder of runtimes on, now and to later workers.
    pub(super) fn add_folder(&self, folder: &str) {
        let mut state = lock(&self.state);
        state.beginning.more_folders.push(folder.to_owned());
        if let Some(process) = &mut state.process {
            let _ = process.control.send(&Control::Folder(folder.to_owned()));
        }
    }

    /// The command is over: no run follows for now. The plugin is told if it wants to know.
    pub(super) fn idle(&self, tells: bool) {
        self.release();
        let mut state = lock(&self.state);
        state.results.retain(|results| match results.upgrade() {
            Some(results) => {
                results.rest();
                true
            }
            None => false,
        });
        if tells && let Some(process) = &mut state.process {
            let _ = process.control.send(&Control::Idle);
        }
    }

    /// Whether a worker runs.
    pub(super) fn is_running(&self) -> bool {
        lock(&self.state).process.is_some()
    }

    /// Whether the worker with this number is the one to use: it runs, and what it has opened is as it was. `runtime` is the file of
    /// the native runtime. Of runs that follow each other at once, `is_repeated`, not each looks at the files.
    pub(super) fn is_current(&self, generation: u64, runtime: Option<&Path>, is_repeated: bool) -> bool {
        let mut state = lock(&self.state);
        let Some(process) = state.process.as_mut() else { return false };
        let is_of_files = (is_repeated && process.compared.elapsed() < TICK) || {
            process.compared = Instant::now();
            process.is_of(&self.stamps(runtime))
        };
        let lives = process.lives();
        generation == state.generation && is_of_files && lives
    }

    /// A connection for one more model, to a worker that is started if none runs, or if the plugin or the runtime has changed;
    /// `is_cancelled` is asked while it starts. A worker that has ended in the middle of a command is told, once.
    pub(super) fn connect(
        &self,
        runtime: Option<&Path>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Connection, Unconnected> {
        let mut state = lock(&self.state);
        let stamps = self.stamps(runtime);
        let mut first = true;
        loop {
            let lives = state.process.as_mut().is_some_and(Process::lives);
            if !lives {
                self.bury(&mut state)?;
            }
            if !state.process.as_ref().is_some_and(|process| process.is_of(&stamps)) {
                state.process = None;
                state.process = Some(self.start(&state.beginning, stamps.clone(), is_cancelled)?);
                state.generation += 1;
            }
            match state.connect() {
                Ok(connection) => return Ok(connection),
                Err(error) if !first => return Err(failed(self.runtime(), &error).into()),
                Err(_) => self.bury(&mut state)?,
            }
            first = false;
        }
    }

    /// Removes a worker that has ended, or does not listen: the error if the command that runs has used it.
    fn bury(&self, state: &mut State) -> Result<(), Unconnected> {
        let Some(process) = state.process.take().filter(|_| self.release()) else { return Ok(()) };
        let ending = process.examined(None);
        state.last = Some((state.generation, ending.clone()));
        Err(Unconnected::Ended(ending))
    }

    fn stamps(&self, runtime: Option<&Path>) -> [Option<Stamp>; 2] {
        let stamp = |path: &Path| Stamp::read(path).ok();
        [stamp(&self.library), runtime.and_then(stamp)]
    }

    fn start(
        &self,
        beginning: &Beginning,
        stamps: [Option<Stamp>; 2],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Process, BackendError> {
        let unstarted = |error: io::Error| {
            BackendError::new(ErrorKind::IO, format!("no process can be started for {}", self.runtime()))
                .with_cause(error.to_string())
                .with_help("Set `isolation = \"none\"` in config.toml to run models in qp's own process.")
        };
        let mut process = Process::start(&self.workers, &self.library, stamps).map_err(unstarted)?;
        let begun = Instant::now();
        let mut answer = process.control.send(&Control::Start(beginning.clone())).map(|()| None);
        while matches!(answer, Ok(None)) && begun.elapsed() < STARTING {
            if is_cancelled() {
                return Err(BackendError::cancelled());
            }
            answer = process.control.receive(Some(TICK));
        }
        match answer {
            Ok(Some(Answer::Done)) => Ok(process),
            Ok(Some(Answer::Failed(fault))) => Err(self.with_limit(fault.into())),
            _ => Err(self.told(&process.examined(None), "before its first run")),
        }
    }

    /// Ends the worker with this number, if it is still the one that runs.
    pub(super) fn end(&self, generation: u64, reason: Reason) {
        let mut state = lock(&self.state);
        if state.generation != generation {
            return;
        }
        if let Some(mut process) = state.process.take() {
            process.end();
            state.last = Some((generation, process.examined(Some(reason))));
        }
    }

    /// How the worker with this number has ended, whose socket has; `None` if another call has met its end, and started the next one.
    pub(super) fn ending(&self, generation: u64) -> Option<Ending> {
        let mut state = lock(&self.state);
        if state.generation == generation
            && let Some(process) = state.process.take()
        {
            state.last = Some((generation, process.examined(None)));
        }
        state.last.as_ref().filter(|(number, _)| *number == generation).map(|(_, ending)| ending.clone())
    }

    /// The error that it has ended while another call did what ended it.
    pub(super) fn gone(&self) -> BackendError {
        BackendError::runtime_failed(format!("the process of {} has ended", self.runtime()))
            .with_help("The session is as it was; run it again.")
    }

    /// The error that it has ended; `doing` says what the model did.
    pub(super) fn told(&self, ending: &Ending, doing: &str) -> BackendError {
        let runtime = self.runtime();
        let how = match (ending.reason, ending.status) {
            (Some(Reason::Cancelled), _) => return BackendError::cancelled(),
            (Some(Reason::TimeLimit), _) => {
                let seconds = self.workers.time_limit.unwrap_or_default().as_secs();
                return BackendError::runtime_failed(format!(
                    "{runtime} was stopped {doing}: it took longer than {seconds} s"
                ))
                .with_help("Raise `worker-time` in config.toml if that is too little.");
            }
            (None, Some(status)) => how(status),
            (None, None) => "its process does not answer".to_owned(),
        };
        self.with_limit(
            BackendError::runtime_failed(format!("{runtime} crashed {doing}: {how}"))
                .with_help("The session is as it was; the next run starts the runtime again.")
                .with_detail(ending.heard.clone()),
        )
    }

    /// With a limit of memory, that is the first thing to look at.
    fn with_limit(&self, error: BackendError) -> BackendError {
        match self.workers.memory_limit {
            Some(_) => error.with_help("Raise `worker-memory` in config.toml if that is too little for it."),
            None => error,
        }
    }
}

impl State {
    fn connect(&mut self) -> io::Result<Connection> {
        let generation = self.generation;
        let process = self.process.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let (own, its) = UnixStream::pair()?;
        let results = Arc::new(Shared::for_results()?);
        process.control.send_with(&Control::Model, &[its.as_fd(), results.descriptor()])?;
        self.results.push(Arc::downgrade(&results));
        Ok(Connection { generation, link: Link::new(own), results })
    }
}

impl Process {
    /// Starts this program as a worker.
    pub(super) fn start(workers: &Workers, library: &Path, stamps: [Option<Stamp>; 2]) -> io::Result<Self> {
        let (own, its) = UnixStream::pair()?;
        let (reader, writer) = io::pipe()?;
        let child = Command::new(&workers.program)
            .arg("--worker")
            .arg(library)
            .stdin(OwnedFd::from(its))
            .stdout(writer.try_clone()?)
            .stderr(writer)
            // Ctrl-C is for qp, which passes it on.
            .process_group(0)
            .spawn()?;
        let heard = Arc::default();
        let (kept, passed) = (Arc::clone(&heard), workers.heard.clone());
        std::thread::Builder::new()
            .name("worker output".to_owned())
            .spawn(move || listen(reader, &kept, passed.as_deref()))?;
        Ok(Self { child, control: Link::new(own), heard, stamps, compared: Instant::now() })
    }

    /// How it ended, once it has.
    pub(super) fn end_in_words(self) -> String {
        self.examined(None).status.map_or_else(|| "it does not answer".to_owned(), how)
    }

    fn is_of(&self, stamps: &[Option<Stamp>; 2]) -> bool {
        // A runtime that was not known at the start is the one that the worker has found since.
        let same =
            |one: &Option<Stamp>, other: &Option<Stamp>| one.is_none() || other.is_none() || one == other;
        self.stamps.iter().zip(stamps).all(|(one, other)| same(one, other))
    }

    /// A worker that has ended while it had nothing to do is no news: another one is started.
    fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn end(&mut self) {
        let _ = self.child.kill();
    }

    /// How it has ended; one that has not, although its socket has, is ended when this returns.
    fn examined(mut self, reason: Option<Reason>) -> Ending {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if begun.elapsed() < DYING => std::thread::sleep(Duration::from_millis(1)),
                _ => break None,
            }
        };
        Ending { status, reason, heard: String::from_utf8_lossy(&lock(&self.heard)).into_owned() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the end of what the worker prints, until it ends.
fn listen(mut reader: PipeReader, kept: &Mutex<Vec<u8>>, passed: Option<&(dyn Fn(&str) + Send + Sync)>) {
    let mut block = [0_u8; 4096];
    loop {
        let read = match reader.read(&mut block) {
            Ok(0) => return,
            Ok(count) => block.get(..count).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if let Some(passed) = passed {
            passed(&String::from_utf8_lossy(read));
        }
        let mut kept = lock(kept);
        kept.extend_from_slice(read);
        let more = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..more);
    }
}

fn failed(runtime: &str, error: &io::Error) -> BackendError {
    BackendError::new(ErrorKind::IO, format!("the process of {runtime} cannot be reached"))
        .with_cause(error.to_string())
}

/// How a process ended that was not told to.
fn how(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return match status.code() {
            Some(code) => format!("it ended its process with exit code {code}"),
            None => "its process ended".to_owned(),
        };
    };
    let named = NAMES.iter().find(|(number, ..)| *number == signal);
    match named {
        Some((_, name, meaning)) => format!("{name}, {meaning}"),
        None => format!("signal {signal}"),
    }
}

/// What signals mean.
const NAMES: [(i32, &str, &str); 8] = [
    (consts::SIGILL, "SIGILL", "an instruction that this processor does not have"),
    (consts::SIGABRT, "SIGABRT", "it gave up"),
    (consts::SIGBUS, "SIGBUS", "a file that it reads became shorter"),
    (consts::SIGFPE, "SIGFPE", "an integer division that has no result"),
    (consts::SIGKILL, "SIGKILL", "the system ended it, most likely because memory ran out"),
    (consts::SIGSEGV, "SIGSEGV", "access to memory that is not its own, or recursion without end"),
    (consts::SIGXCPU, "SIGXCPU", "it took more time than it may"),
    (consts::SIGSYS, "SIGSYS", "a system call that is not allowed"),
];
