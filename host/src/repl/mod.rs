//! The interactive session: reads a line, executes it, repeats.

mod complete;
mod editor;
mod helper;
mod highlight;
mod hint;
mod history;
pub mod interrupt;
pub mod line_source;
mod values;
mod vocabulary;

use crate::dirs::Dirs;
use crate::error::exit_code;
use crate::executor::{Executor, Origin, Outcome};
use crate::language::{is_incomplete, separate_lines};
use crate::printable;
use crate::render::text::counted;
use history::HistoryFile;
use line_source::{LineSource, Typed};

/// Runs a session until the user ends it. An error ends a line, not the session.
pub fn run(executor: &mut Executor, lines: &mut dyn LineSource, dirs: Option<&Dirs>) {
    let file = HistoryFile::new(dirs.map(Dirs::history_file));
    match file.read() {
        Ok(past) => {
            lines.remember_all(
                &past.iter().map(|line| printable::lines(line).into_owned()).collect::<Vec<_>>(),
            );
            executor.playground.history = past;
        }
        Err(error) => executor.ui.warning(&error.one_line()),
    }
    let mut is_file_writable = true;
    loop {
        let prompt = prompt(executor);
        executor.cancel.rest();
        let text = match next_text(lines, &prompt, executor) {
            Typed::Line(text) => text,
            Typed::Nothing => continue,
            Typed::End => break,
        };
        let texts = match text.trim().is_empty() {
            false => separate_lines(&text).into_iter().map(str::to_owned).collect(),
            // Enter goes on with a tour.
            true => match crate::commands::next_of_tour(&mut executor.playground) {
                Some((title, line)) => {
                    executor.ui.remark(&title);
                    executor.ui.echo(&line);
                    vec![line]
                }
                None => continue,
            },
        };
        // What was pasted is run line by line, each shown before its result.
        let mut waiting = texts.len();
        for line in &texts {
            let prompt = self::prompt(executor);
            if texts.len() > 1 {
                executor.ui.echo_typed(&prompt, line);
            }
            waiting -= 1;
            // A space before a line keeps it out of the history.
            if !line.starts_with(' ') {
                lines.remember_all(std::slice::from_ref(line));
                executor.playground.history.push(line.clone());
                // At once, not at the end: a session may end unexpectedly.
                if let (true, Err(error)) = (is_file_writable, file.append(line)) {
                    is_file_writable = false;
                    executor.ui.warning(&format!("the history is not saved: {}", error.one_line()));
                }
            }
            let width = unicode_width::UnicodeWidthStr::width(prompt.as_str());
            match executor.execute(line, Origin::Prompt { width, has_pages: waiting == 0 }) {
                Outcome::Quit => return,
                Outcome::Failed(exit_code::INTERRUPTED) => {
                    lines.drop_waiting();
                    if waiting > 0 {
                        executor.ui.remark(&format!("not run: {}", counted(waiting, "line")));
                    }
                    break;
                }
                _ => {}
            }
        }
    }
}

/// The next line, or all lines of the next block. Ctrl-C drops a block that has begun, Ctrl-D ends it as it is.
fn next_text(lines: &mut dyn LineSource, prompt: &str, executor: &Executor) -> Typed {
    let mut text = match lines.next(prompt, &executor.playground) {
        Typed::Line(line) => line,
        other => return other,
    };
    if !is_incomplete(&text) {
        return Typed::Line(text);
    }
    let width = unicode_width::UnicodeWidthStr::width(prompt);
    let continued = format!("{:>width$}", "... ");
    while is_incomplete(&text) {
        match lines.next(&continued, &executor.playground) {
            Typed::Line(line) => {
                text.push('\n');
                text.push_str(&line);
            }
            Typed::Nothing => return Typed::Nothing,
            Typed::End => break,
        }
    }
    Typed::Line(text)
}

fn prompt(executor: &Executor) -> String {
    let playground = &executor.playground;
    let text = match playground.current.as_ref().and_then(|path| path.file_name()) {
        Some(name) => match &playground.layer {
            Some(layer) => format!("qp {}:{layer}> ", name.to_string_lossy()),
            None => format!("qp {}> ", name.to_string_lossy()),
        },
        None => "qp> ".to_owned(),
    };
    printable::line(&text).into_owned()
}

/// The terminal as a source of lines.
///
/// # Errors
/// `Internal` when it cannot be used.
pub fn terminal(is_colored: bool, is_ascii: bool) -> crate::error::Result<impl LineSource> {
    editor::Terminal::new(is_colored, is_ascii)
}
