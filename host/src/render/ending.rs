//! The end of the process while something is still running: a warning before it, and no result half written.

use crate::printable;
use crate::render::diagnostic;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Where text goes, shared with whoever ends the process.
pub type Stream = Arc<Mutex<Box<dyn Write + Send>>>;

/// A result that is being written gets this long: its reader may never read on.
const PATIENCE: Duration = Duration::from_secs(2);

/// Speaks from another thread than the one that is busy.
#[derive(Clone)]
pub struct Ending {
    /// Where results go.
    pub output: Stream,
    /// Where messages go.
    pub talk: Stream,
    /// Whether messages may have colors.
    pub is_colored: bool,
    /// Whether a progress bar may be in the last line of the messages.
    pub has_bar: bool,
}

impl Ending {
    /// Shows a warning.
    pub fn warn(&self, message: &str) {
        let text = diagnostic::warning(message);
        let text = printable::screen(&text, self.is_colored).into_owned();
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        // If standard error itself fails, there is nowhere to report it.
        let _ = write!(talk, "{}{text}", self.erase_bar()).and_then(|()| talk.flush());
    }

    /// Waits for a result that is being written, and lets no other begin.
    pub fn close(&self) {
        for stream in [&self.output, &self.talk] {
            if let Some(mut stream) = lock_within(stream, PATIENCE) {
                let _ = stream.flush();
                std::mem::forget(stream);
            }
        }
        if self.has_bar {
            let _ = std::io::stderr().write_all(self.erase_bar().as_bytes());
        }
    }

    fn erase_bar(&self) -> &'static str {
        if self.has_bar { "\r\u{1b}[K" } else { "" }
    }
}

fn lock_within(stream: &Stream, patience: Duration) -> Option<MutexGuard<'_, Box<dyn Write + Send>>> {
    let start = Instant::now();
    loop {
        match stream.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
            Err(TryLockError::WouldBlock) if start.elapsed() > patience => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what is written, slowly.
    struct Slow(Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            std::thread::sleep(Duration::from_millis(20));
            self.0.lock().unwrap().push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_result_that_has_begun_is_written_to_its_end() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let output: Stream = Arc::new(Mutex::new(Box::new(Slow(Arc::clone(&written)))));
        let talk: Stream = Arc::new(Mutex::new(Box::new(Vec::new())));
        let ending = Ending { output: Arc::clone(&output), talk, is_colored: false, has_bar: false };
        let (begun, is_begun) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            let mut output = output.lock().unwrap();
            begun.send(()).unwrap();
            output.write_all(b"a table").unwrap();
        });
        is_begun.recv().unwrap();
        ending.close();
        assert_eq!(*written.lock().unwrap(), b"a table");
        writer.join().unwrap();
    }
}
