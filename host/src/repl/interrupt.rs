//! Ctrl-C while a command runs.
//!
//! The first one asks the command to stop. Native code may not notice, and must not trap the user: a later one ends
//! the process, at a prompt only after a warning that had time to be read.

use crate::cancel::CancelFlag;
use crate::error::{Error, ErrorKind, Result, exit_code};
use crate::render::ending::Ending;
use signal_hook::consts::SIGINT;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A command that takes longer than this to stop is warned about.
const STOPS_WITHIN: Duration = Duration::from_secs(2);
/// A warning younger than this has not been read.
const READ_WITHIN: Duration = Duration::from_millis(500);

const WARNING: &str = "the command has not stopped yet: Ctrl-C again ends qp, and what was not saved is lost";

/// Makes Ctrl-C set the flag, and a later one end the process; `has_warning` if only after a warning.
///
/// # Errors
/// `Internal` when the system refuses a signal handler or a thread.
pub fn install(cancel: &CancelFlag, ending: Ending, has_warning: bool) -> Result<()> {
    let refused = |error: std::io::Error| {
        Error::new(ErrorKind::Internal, "cannot handle Ctrl-C").with_cause(error.to_string())
    };
    // Not signal-hook's iterator, which opens sockets: a session has none, so that anyone can see that it sends nothing.
    let (mut signals, writer) = std::io::pipe().map_err(refused)?;
    signal_hook::low_level::pipe::register(SIGINT, writer).map_err(refused)?;
    let mut watcher = Watcher {
        cancel: cancel.clone(),
        ending,
        has_warning,
        state: Arc::new(Mutex::new(State::default())),
    };
    let watch = move || {
        let mut byte = [0];
        while signals.read_exact(&mut byte).is_ok() {
            watcher.interrupt();
        }
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(watch).map_err(refused)?;
    Ok(())
}

/// How far the user and a command are.
#[derive(Default)]
struct State {
    /// Counts the first Ctrl-C of each command.
    number: usize,
    /// When the warning about this one was shown.
    warned: Option<Instant>,
}

struct Watcher {
    cancel: CancelFlag,
    ending: Ending,
    has_warning: bool,
    state: Arc<Mutex<State>>,
}

impl Watcher {
    fn interrupt(&mut self) {
        // On a terminal without raw mode, Ctrl-C at the prompt is a signal, too.
        if self.cancel.is_resting() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.cancel.is_set() {
            self.cancel.set();
            state.number += 1;
            state.warned = None;
            if self.has_warning {
                self.warn_later(state.number);
            }
            return;
        }
        match state.warned {
            None if self.has_warning => {
                state.warned = Some(Instant::now());
                self.ending.warn(WARNING);
            }
            Some(warned) if warned.elapsed() < READ_WITHIN => {}
            _ => {
                self.ending.close();
                // Without the handlers of `exit`: native code may be in the middle of anything.
                signal_hook::low_level::exit(exit_code::INTERRUPTED.into());
            }
        }
    }

    /// Warns if the command of this Ctrl-C is still running after a while.
    fn warn_later(&self, number: usize) {
        let (cancel, ending, state) = (self.cancel.clone(), self.ending.clone(), Arc::clone(&self.state));
        // Without a thread, the next Ctrl-C warns.
        let _ = std::thread::Builder::new().name("interrupt-warning".to_owned()).spawn(move || {
            std::thread::sleep(STOPS_WITHIN);
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if cancel.is_set() && state.number == number && state.warned.is_none() {
                state.warned = Some(Instant::now());
                ending.warn(WARNING);
            }
        });
    }
}

/// While this lives, the terminal throws away nothing that waits to be shown when Ctrl-C is pressed: a result would end in the
/// middle of a line, and the prompt would be lost.
pub struct KeptOutput(#[cfg(unix)] Option<rustix::termios::Termios>);

impl KeptOutput {
    /// Changes the terminal at standard input, if there is one.
    pub fn begin() -> Self {
        #[cfg(unix)]
        return Self(Self::changed().ok());
        #[cfg(not(unix))]
        return Self();
    }

    #[cfg(unix)]
    fn changed() -> rustix::io::Result<rustix::termios::Termios> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let input = rustix::stdio::stdin();
        let before = tcgetattr(input)?;
        let mut modes = before.clone();
        modes.local_modes.insert(LocalModes::NOFLSH);
        tcsetattr(input, OptionalActions::Now, &modes)?;
        Ok(before)
    }
}

impl Drop for KeptOutput {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(
                rustix::stdio::stdin(),
                rustix::termios::OptionalActions::Now,
                before,
            );
        }
    }
}
