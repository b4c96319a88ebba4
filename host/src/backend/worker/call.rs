//! One call of a worker: what is sent, and what happens until its answer is there.

use super::message::{Answer, Order, Place, Placed, from_pairs};
use super::process::{Connection, Reason, Worker};
use super::shared::Shared;
use super::{SHORT, TICK};
use qp_abi::backend::{RunReport, RunRequest};
use qp_abi::sink::{ProgressRef, TensorSinkMut};
use qp_abi::{BackendError, TensorView};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a worker may take to hear that it should stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// A model that is open in a worker.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Memory for inputs.
    inputs: Option<Shared>,
    /// The file of the native runtime.
    pub(super) runtime: Option<PathBuf>,
    /// How long the last run took.
    last: Option<Duration>,
    /// When the last call was over.
    pub(super) answered: Instant,
}

/// Why a call of the worker failed.
pub(super) enum Failure {
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

/// An answer that does not fit the order.
pub(super) fn unfit(answer: Answer) -> Failure {
    Failure::Told(match answer {
        Answer::Failed(fault) => fault.into(),
        _ => BackendError::internal("the worker answered something else"),
    })
}

/// Takes progress, and says whether to stop; an empty stage only asks.
pub(super) type Tell<'a> = &'a (dyn Fn(&str, u64, u64) -> bool + Sync);

pub(super) fn tell(progress: &ProgressRef<'_>) -> impl Fn(&str, u64, u64) -> bool {
    |stage, done, total| progress.update(stage.into(), done, total)
}

/// Waits for answers; meanwhile passes on progress and Ctrl-C, and keeps to the time limit.
pub(super) struct Waiting<'a> {
    worker: &'a Worker,
    progress: Tell<'a>,
    begun: Instant,
    looked: Instant,
    noted: u64,
    /// When it was told to stop.
    stopped: Option<Instant>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(worker: &'a Worker, progress: Tell<'a>) -> Self {
        let now = Instant::now();
        Self { worker, progress, begun: now, looked: now, noted: 0, stopped: None }
    }

    /// The next answer.
    pub(super) fn answer(&mut self, connection: &mut Connection) -> Result<Answer, Failure> {
        loop {
            if self.looked.elapsed() >= TICK {
                self.look(connection)?;
            }
            if let Some(answer) = connection.link.receive(Some(TICK))? {
                return Ok(answer);
            }
        }
    }

    pub(super) fn done(&mut self, connection: &mut Connection) -> Result<(), Failure> {
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
    pub(super) fn new(connection: Connection, runtime: Option<PathBuf>) -> Self {
        Self { connection, inputs: None, runtime, last: None, answered: Instant::now() }
    }

    /// Puts the inputs where the worker finds them.
    fn placed(&mut self, request: &RunRequest<'_>) -> Result<Vec<Placed>, Failure> {
        let is_text = |view: &TensorView<'_>| view.dtype.bits() == 0;
        let room: usize =
            request.inputs.iter().filter(|view| !is_text(view)).map(|view| Place::room(&view.bytes)).sum();
        if self.inputs.as_ref().is_none_or(|memory| memory.len() < room) && room > 0 {
            let memory = Shared::new(room.checked_next_power_of_two().unwrap_or(room))?;
            self.connection.link.send_with(&Order::Memory, &[memory.descriptor()])?;
            self.inputs = Some(memory);
        }
        let (mut used, mut placed) = (0, Vec::new());
        for view in request.inputs.iter() {
            let place = match self.inputs.as_ref().filter(|_| !is_text(view)) {
                Some(memory) => Place::behind(&mut used, memory, &view.bytes)?,
                None => Place::Here(view.bytes.to_vec()),
            };
            placed.push(Placed::of(view, view.first_element, place));
        }
        Ok(placed)
    }

    pub(super) fn run(
        &mut self,
        request: &RunRequest<'_>,
        sink: &mut TensorSinkMut<'_>,
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
                    let bytes = placed.place.bytes(Some(&connection.results))?;
                    let view = placed.view(bytes, parameters.as_ref());
                    if let Err(error) = sink.tensor(view).into_result() {
                        failure = Some(error);
                        waiting.stop(connection);
                    }
                }
                Answer::Full => {
                    connection.results.note_filled();
                    connection.link.send(&Order::Free(failure.is_none()))?;
                }
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
