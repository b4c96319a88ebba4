//! The one handle for all output: results go to standard output, messages to standard error.

use crate::cancel::CancelFlag;
use crate::error::{Error, Result};
use crate::printable;
use crate::render::ending::{Ending, Stream};
use crate::render::pager::{self, Screen};
pub use crate::render::progress::Task;
use crate::render::progress::{Lines, Shown};
use crate::render::report::Report;
use crate::render::text::counted;
use crate::render::{Format, ascii, csv, diagnostic, json, markdown, style, table};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// How to show things, decided once at the start from the arguments, the environment and the terminal.
#[derive(Clone, Debug, Default)]
pub struct Appearance {
    /// Whether results may have colors.
    pub is_output_colored: bool,
    /// Whether messages may have colors.
    pub is_talk_colored: bool,
    /// Whether results are in ASCII.
    pub is_output_ascii: bool,
    /// Whether messages are in ASCII.
    pub is_talk_ascii: bool,
    /// Whether results go to a terminal.
    pub is_output_terminal: bool,
    /// Whether messages go to a terminal that can redraw a line.
    pub is_talk_terminal: bool,
    /// Whether the user can be asked: standard input and standard error are terminals.
    pub is_interactive: bool,
    /// The width to fit; `None` when results do not go to a terminal.
    pub width: Option<u16>,
    /// How results longer than the terminal are shown at a prompt; `None` for all at once.
    pub paging: Option<Paging>,
    /// Whether to leave out what is neither result nor error.
    pub is_quiet: bool,
    /// Whether to print only the last result for machines.
    pub shows_last_only: bool,
    /// Whether to show the raw text of errors.
    pub is_verbose: bool,
}

/// What shows long results.
#[derive(Clone, Debug, Default)]
pub struct Paging {
    /// The user's program; `None` for qp itself.
    pub program: Option<String>,
    /// What `LESS` is set to for it.
    pub less: Option<String>,
}

/// The handle. All output of the program goes through it.
pub struct Ui {
    appearance: Appearance,
    output: Stream,
    talk: Stream,
    is_output_closed: AtomicBool,
    has_output_failed: AtomicBool,
    has_shown_result: AtomicBool,
    /// The last result for machines, if only that is printed.
    last: Mutex<Option<Last>>,
}

/// A result that is only printed if no other follows.
struct Last {
    text: String,
    is_preparation: bool,
}

impl Ui {
    /// A handle that writes results to `output` and messages to `talk`.
    pub fn new(appearance: Appearance, output: Box<dyn Write + Send>, talk: Box<dyn Write + Send>) -> Self {
        Self {
            appearance,
            output: Arc::new(Mutex::new(output)),
            talk: Arc::new(Mutex::new(talk)),
            is_output_closed: AtomicBool::new(false),
            has_output_failed: AtomicBool::new(false),
            has_shown_result: AtomicBool::new(false),
            last: Mutex::default(),
        }
    }

    /// How things are shown.
    pub fn appearance(&self) -> &Appearance {
        &self.appearance
    }

    /// What the end of the process needs of this handle.
    pub fn ending(&self) -> Ending {
        Ending {
            output: Arc::clone(&self.output),
            talk: Arc::clone(&self.talk),
            is_colored: self.appearance.is_talk_colored,
            has_bar: self.appearance.is_talk_terminal && !self.appearance.is_quiet,
        }
    }

    /// The current width: a terminal's may have changed since the start.
    pub fn width(&self) -> Option<u16> {
        let now = || terminal_size::terminal_size().map(|(width, _)| width.0);
        self.appearance
            .width
            .map(|width| if self.appearance.is_output_terminal { now().unwrap_or(width) } else { width })
    }

    /// Whether the reader of the results has gone, so that more work is useless.
    pub fn is_output_closed(&self) -> bool {
        self.is_output_closed.load(Ordering::Relaxed)
    }

    /// Whether a result could not be written, as on a full disk; reported once.
    pub fn has_output_failed(&self) -> bool {
        self.has_output_failed.load(Ordering::Relaxed)
    }

    /// Shows a result, separated by an empty line from the one before; not for JSON, which is for programs, and not at a
    /// prompt, which separates results already.
    pub fn report(&self, report: &Report, format: Format, is_at_prompt: bool) {
        let text = self.text(report, format);
        let has_earlier = self.has_shown_result.swap(true, Ordering::Relaxed);
        if has_earlier && !is_at_prompt && format != Format::Json {
            self.write_output("\n");
        }
        self.write_output(&text);
    }

    /// Shows a result at a prompt, a screen at a time if it is longer. The user's pager gets Ctrl-C, too, which then does
    /// not mean the session.
    pub fn report_in_pages(&self, report: &Report, format: Format, cancel: &CancelFlag) {
        let text = self.text(report, format);
        let long = Screen::of_terminal().filter(|screen| !screen.fits(&text));
        let (Some(paging), Some(screen)) = (&self.appearance.paging, long) else {
            return self.write_output(&text);
        };
        let text = printable::screen(&text, self.appearance.is_output_colored);
        let text = if self.appearance.is_output_ascii { ascii::fold(&text) } else { text };
        let is_shown = paging.program.as_ref().is_some_and(|program| {
            pager::page_with(program, paging.less.as_deref(), &text, || cancel.clear())
        });
        if is_shown {
            return;
        }
        let mut output = self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let left = pager::page(&text, screen, self.appearance.is_output_colored, &mut **output);
        drop(output);
        match left {
            Ok(left) if left.hidden > 0 => {
                self.remark(&format!("{} of {} not shown", left.hidden, counted(left.total, "line")));
            }
            Ok(_) => {}
            Err(error) => self.output_failed(&error),
        }
    }

    /// A result for files and programs: without colors, and as wide as it is.
    pub fn plain(&self, report: &Report, format: Format) -> String {
        let text = match format {
            Format::Table => style::strip(&table::report(report, None)),
            Format::Json => json::report(report, false),
            _ => self.text(report, format),
        };
        printable::screen(&text, false).into_owned()
    }

    fn text(&self, report: &Report, format: Format) -> String {
        match format {
            Format::Table => table::report(report, self.width()),
            Format::Json => json::report(report, self.appearance.is_output_terminal),
            Format::Csv => csv::report(report),
            Format::Markdown => markdown::report(report),
        }
    }

    /// Keeps a result for [`Self::show_last`], replacing the one before it.
    pub fn keep_last(&self, report: &Report, format: Format) {
        let text = self.text(report, format);
        // CSV only has tables.
        if !text.is_empty() {
            self.keep(text, report.is_preparation());
        }
    }

    /// A result that only says what was set never replaces another kind, which always replaces it.
    fn keep(&self, text: String, is_preparation: bool) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.as_ref().is_none_or(|before| before.is_preparation || !is_preparation) {
            *last = Some(Last { text, is_preparation });
        }
    }

    /// Shows the last result, if only that is printed.
    pub fn show_last(&self) {
        let last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(last) = last {
            self.write_output(&last.text);
        }
    }

    /// Shows a failed command's error; with JSON, a document instead of the result.
    pub fn error(&self, error: &Error, source: diagnostic::Source<'_>, format: Format) {
        match format {
            Format::Json if self.appearance.shows_last_only => self.keep(json::error(error), false),
            Format::Json => self.write_output(&json::error(error)),
            // An earlier result is no longer the last one.
            Format::Csv if self.appearance.shows_last_only => self.keep(String::new(), false),
            _ => {}
        }
        self.write_talk(&diagnostic::error(error, source, self.appearance.is_verbose));
    }

    /// Shows a warning.
    pub fn warning(&self, message: &str) {
        self.write_talk(&diagnostic::warning(message));
    }

    /// Shows a remark, unless the user wants quiet.
    pub fn remark(&self, message: &str) {
        if !self.appearance.is_quiet {
            self.write_talk(&format!("{}\n", printable::lines(message)));
        }
    }

    /// Shows a command of a script before its result, on the stream of the results.
    pub fn echo(&self, command: &str) {
        let gap = if self.has_shown_result.swap(false, Ordering::Relaxed) { "\n" } else { "" };
        let prompt = style::Tone::Dim.paint("qp>");
        self.write_output(&format!(
            "{gap}{prompt} {}\n",
            style::Tone::Heading.paint(&printable::lines(command))
        ));
    }

    /// Shows a line of several that were given at once, as if it had been typed at this prompt.
    pub fn echo_typed(&self, prompt: &str, line: &str) {
        let line = printable::lines(line).into_owned();
        self.write_output(&format!("{}{line}\n", style::Tone::Heading.paint(prompt)));
    }

    /// Clears the terminal that results go to, if they do.
    pub fn clear_screen(&self) {
        if self.appearance.is_output_terminal && self.appearance.is_talk_terminal {
            let mut output = self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let _ = output.write_all(b"\x1b[H\x1b[2J\x1b[3J").and_then(|()| output.flush());
        }
    }

    /// A task with a spinner on a terminal, which goes when the task is dropped; elsewhere with a line every ten seconds.
    pub fn task<'a>(&self, cancel: &'a CancelFlag) -> Task<'a> {
        match (self.appearance.is_quiet, self.appearance.is_talk_terminal) {
            (true, _) => Task::new(cancel, Shown::Nothing),
            (false, true) => Task::new(cancel, Shown::bar(self.appearance.is_talk_ascii)),
            (false, false) => Task::new(cancel, Shown::Lines(Lines::new(Arc::clone(&self.talk)))),
        }
    }

    /// Asks the user to choose one of `options`; `None` if the session is not interactive or they press Escape.
    ///
    /// # Errors
    /// `Cancelled` on Ctrl-C.
    pub fn pick(&self, question: &str, options: Vec<String>) -> Result<Option<usize>> {
        if !self.appearance.is_interactive || options.is_empty() {
            return Ok(None);
        }
        let is_ascii = self.appearance.is_talk_ascii;
        let shown = |text: &str| match is_ascii {
            true => ascii::fold(text).into_owned(),
            false => text.to_owned(),
        };
        let options = options.iter().map(|option| shown(&printable::line(option))).collect();
        let keys = shown("type words to filter, ↑↓ to move, Enter to choose, Esc to leave");
        match inquire::Select::new(&printable::line(question), options)
            .with_page_size(12)
            .with_scorer(&|input, _, option, index| score(input, option, index))
            .with_help_message(&keys)
            .raw_prompt_skippable()
        {
            Ok(choice) => Ok(choice.map(|choice| choice.index)),
            Err(inquire::InquireError::OperationInterrupted) => Err(Error::cancelled()),
            Err(error) => Err(Error::internal("the picker failed").with_cause(error.to_string())),
        }
    }

    fn write_output(&self, text: &str) {
        if let Err(error) =
            write(&self.output, text, self.appearance.is_output_colored, self.appearance.is_output_ascii)
        {
            self.output_failed(&error);
        }
    }

    fn output_failed(&self, error: &std::io::Error) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            self.is_output_closed.store(true, Ordering::Relaxed);
        } else if !self.has_output_failed.swap(true, Ordering::Relaxed) {
            self.warning(&format!("results cannot be written: {error}"));
        }
    }

    fn write_talk(&self, text: &str) {
        // If standard error itself fails, there is nowhere to report it.
        let _ = write(&self.talk, text, self.appearance.is_talk_colored, self.appearance.is_talk_ascii);
    }
}

/// Every word of the input has to be in the option; those that begin with the first word come first, the others keep
/// their order.
fn score(input: &str, option: &str, index: usize) -> Option<i64> {
    let (input, option) = (input.to_lowercase(), option.to_lowercase());
    let mut words = input.split_whitespace().peekable();
    let is_start = words.peek().is_some_and(|word| option.starts_with(word));
    let order = -i64::try_from(index).unwrap_or(i64::MAX);
    words.all(|word| option.contains(word)).then_some(if is_start {
        i64::from(u32::MAX) + order
    } else {
        order
    })
}

fn write(stream: &Stream, text: &str, is_colored: bool, is_ascii: bool) -> std::io::Result<()> {
    let mut stream = stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = printable::screen(text, is_colored);
    let text = if is_ascii { ascii::fold(&text) } else { text };
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_to_fit_in_any_order() {
        assert!(score("conv layer1", "layer1.conv2  Conv", 3).is_some());
        assert!(score("conv layer9", "layer1.conv2  Conv", 3).is_none());
        assert!(score("", "layer1", 3).is_some());
        assert!(score("lay", "layer1", 9) > score("lay", "a_layer", 0));
        assert!(score("lay", "layer1", 1) > score("lay", "layer2", 2));
    }
}
