//! Work that the user waits for: a bar on a terminal, a line every ten seconds elsewhere.

use crate::backend::Progress;
use crate::cancel::CancelFlag;
use crate::printable;
use crate::render::ascii;
use crate::render::ending::Stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A spinner appears only for work that takes longer than this.
const SPINNER_DELAY: Duration = Duration::from_millis(150);
/// Without a terminal, the time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What the words of a stage count, one and several.
const UNITS: [(&str, &str); 10] = [
    ("sample", "samples"),
    ("round", "rounds"),
    ("model", "models"),
    ("layer", "layers"),
    ("weight", "weights"),
    ("bias", "biases"),
    ("branch", "branches"),
    ("output", "outputs"),
    ("tensor", "tensors"),
    ("file", "files"),
];

/// Work that the user waits for.
pub struct Task<'a> {
    cancel: &'a CancelFlag,
    shown: Shown,
    /// The stage that the bar shows.
    stage: Mutex<String>,
    started: Instant,
    is_shown: AtomicBool,
}

/// How a task is shown.
pub enum Shown {
    /// Not at all.
    Nothing,
    /// As a bar, perhaps in ASCII.
    Bar(ProgressBar, bool),
    /// As lines.
    Lines(Lines),
}

impl Shown {
    /// A bar that appears when there is something to wait for.
    pub fn bar(is_ascii: bool) -> Self {
        Self::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()), is_ascii)
    }
}

impl<'a> Task<'a> {
    /// A task that begins now.
    pub fn new(cancel: &'a CancelFlag, shown: Shown) -> Self {
        Self {
            cancel,
            shown,
            stage: Mutex::default(),
            started: Instant::now(),
            is_shown: AtomicBool::new(false),
        }
    }

    fn draw(&self, (bar, is_ascii): (&ProgressBar, bool), stage: &str, done: u64, total: u64) {
        let stage = if is_ascii { &*ascii::fold(stage) } else { stage };
        let style = |template: &str| {
            if is_ascii {
                style(template).tick_chars("-\\|/ ").progress_chars("##-")
            } else {
                style(template)
            }
        };
        if self.started.elapsed() < SPINNER_DELAY {
            return;
        }
        if !self.is_shown.swap(true, Ordering::Relaxed) {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        if total == 0 {
            bar.set_style(style("{spinner} {msg}"));
            bar.set_message(format!("{stage} {}", if is_ascii { "..." } else { "…" }));
            return;
        }
        // The rate and the time left are those of this stage.
        let mut current = locked(&self.stage);
        if *current != stage {
            stage.clone_into(&mut current);
            bar.reset();
            let unit = unit(stage);
            let rate = move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                let rate = unit.map(|unit| rate(state.per_sec(), unit)).filter(|rate| !rate.is_empty());
                let _ = rate.map_or(Ok(()), |rate| write!(text, "{rate}, "));
            };
            bar.set_style(
                style("{spinner} {msg} {bar:20} {pos}/{len} ({rate}{eta} left)").with_key("rate", rate),
            );
        }
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(stage.to_owned());
    }
}

impl Progress for Task<'_> {
    fn update(&self, stage: &str, done: u64, total: u64) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar, is_ascii) => self.draw((bar, *is_ascii), &printable::line(stage), done, total),
            Shown::Lines(lines) => lines.update(&printable::line(stage), done, total),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_set()
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if let Shown::Bar(bar, _) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Lines about work, written by a thread of their own: the work may be silent for long.
pub struct Lines {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    ended: Condvar,
    talk: Stream,
}

#[derive(Default)]
struct State {
    stage: String,
    done: u64,
    total: u64,
    /// When this stage began, and what was done then.
    since: Option<(Instant, u64)>,
    is_over: bool,
}

impl Lines {
    /// Writes to this stream once there is something to say.
    pub fn new(talk: Stream) -> Self {
        let shared = Shared { state: Mutex::default(), ended: Condvar::new(), talk };
        Self { shared: Arc::new(shared), writer: Mutex::default() }
    }

    fn update(&self, stage: &str, done: u64, total: u64) {
        let mut state = locked(&self.shared.state);
        if state.stage != stage {
            stage.clone_into(&mut state.stage);
            state.since = Some((Instant::now(), done));
        }
        (state.done, state.total) = (done, total);
        drop(state);
        let mut writer = locked(&self.writer);
        if writer.is_none() {
            let shared = Arc::clone(&self.shared);
            let write = move || shared.write(LINE_EVERY);
            // Without a thread there are no lines.
            *writer = std::thread::Builder::new().name("progress".to_owned()).spawn(write).ok();
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        locked(&self.shared.state).is_over = true;
        self.shared.ended.notify_all();
        if let Some(writer) = locked(&self.writer).take() {
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn write(&self, every: Duration) {
        let mut state = locked(&self.state);
        while !state.is_over {
            let waited = self.ended.wait_timeout(state, every).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() && !state.is_over {
                let mut talk = locked(&self.talk);
                // If standard error itself fails, there is nowhere to report it.
                let _ = writeln!(talk, "{}", state.line()).and_then(|()| talk.flush());
            }
        }
    }
}

impl State {
    fn line(&self) -> String {
        let mut line = format!("{} …", self.stage);
        if self.total == 0 {
            return line;
        }
        let _ = write!(line, " {} of {}", self.done, self.total);
        let Some((since, before)) = self.since else { return line };
        let rate_per_second =
            self.done.saturating_sub(before) as f64 / since.elapsed().as_secs_f64().max(1e-9);
        if let Some(rate) =
            unit(&self.stage).map(|unit| rate(rate_per_second, unit)).filter(|rate| !rate.is_empty())
        {
            let _ = write!(line, ", {rate}");
        }
        if rate_per_second > 0.0 {
            let left = (self.total - self.done.min(self.total)) as f64 / rate_per_second;
            let _ = write!(line, ", {} left", rough(left));
        }
        line
    }
}

/// Seconds in the unit that people would use.
fn rough(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds if seconds < 6000.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

/// What a stage counts, if its words say so.
fn unit(stage: &str) -> Option<(&'static str, &'static str)> {
    UNITS.into_iter().find(|(one, several)| stage.split(' ').any(|word| word == *one || word == *several))
}

/// `12 samples/s`, or `3.4 s a sample`; empty before anything was done.
fn rate(per_second: f64, (one, several): (&str, &str)) -> String {
    match per_second {
        rate if !rate.is_finite() || rate <= 0.0 => String::new(),
        rate if rate < 1.0 => format!("{:.1} s a {one}", 1.0 / rate),
        rate if rate < 10.0 => format!("{rate:.1} {several}/s"),
        rate => format!("{rate:.0} {several}/s"),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_the_unit_of_what_is_counted() {
        let of = |stage: &str, per_second: f64| unit(stage).map(|unit| rate(per_second, unit));
        assert_eq!(of("evaluating samples", 12.3), Some("12 samples/s".to_owned()));
        assert_eq!(of("quantizing layer by layer", 0.25), Some("4.0 s a layer".to_owned()));
        assert_eq!(of("correcting biases", 2.0), Some("2.0 biases/s".to_owned()));
        assert_eq!(of("converting", 2.0), None);
    }

    #[test]
    fn a_line_says_what_is_done_and_what_is_left() {
        let since = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let state = State {
            stage: "evaluating samples".into(),
            done: 200,
            total: 1200,
            since: Some((since, 0)),
            is_over: false,
        };
        assert_eq!(state.line(), "evaluating samples … 200 of 1200, 20 samples/s, 50 s left");
        assert_eq!(State { stage: "converting".into(), ..State::default() }.line(), "converting …");
    }

    #[test]
    fn lines_are_written_while_the_work_is_silent() {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let talk: Stream = Arc::new(Mutex::new(Box::new(kept.clone())));
        let shared = Arc::new(Shared { state: Mutex::default(), ended: Condvar::new(), talk });
        locked(&shared.state).stage = "loading".to_owned();
        let writer = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.write(Duration::from_millis(10))
        });
        while kept.0.lock().unwrap().len() < 2 * "loading …\n".len() {
            std::thread::sleep(Duration::from_millis(2));
        }
        locked(&shared.state).is_over = true;
        shared.ended.notify_all();
        writer.join().unwrap();
    }
}
