//! Results that are longer than the terminal, a screen at a time. They stay where they are printed, so that earlier
//! ones can be looked at again.

use crate::render::keys::{Key, Keyboard};
use crate::render::style;
use crate::shell;
use std::io::Write;
use unicode_width::UnicodeWidthStr;

/// What waits for the next key, in the last line.
const KEYS: &str = "Space next page, Enter next line, a all, q end";

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Screen {
    /// That of the terminal; `None` if it does not tell.
    pub fn of_terminal() -> Option<Self> {
        let (width, height) = terminal_size::terminal_size()?;
        (width.0 > 0 && height.0 > 2).then(|| Self { width: width.0.into(), height: height.0.into() })
    }

    /// Whether the text fits, with the prompt below it.
    pub fn fits(self, text: &str) -> bool {
        text.lines().map(|line| self.rows(line)).sum::<usize>() < self.height
    }

    /// The rows that a line takes.
    fn rows(self, line: &str) -> usize {
        style::strip(line).width().div_ceil(self.width).max(1)
    }
}

/// How a text was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The lines that were not shown.
    pub hidden: usize,
    /// All lines.
    pub total: usize,
}

/// Writes the text, and waits after each screen. Without a terminal to ask, or if lines were typed ahead, it writes it at once.
///
/// # Errors
/// Those of `output`.
pub fn page(text: &str, screen: Screen, is_colored: bool, output: &mut dyn Write) -> std::io::Result<Left> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let total = lines.len();
    let keyboard = Keyboard::new().filter(|keyboard| !keyboard.is_waiting());
    let Some(keyboard) = keyboard else {
        output.write_all(text.as_bytes())?;
        return Ok(Left { hidden: 0, total });
    };
    let (mut next, mut free) = (0, screen.height - 1);
    while let Some(line) = lines.get(next) {
        let rows = screen.rows(line.trim_end_matches('\n'));
        if rows <= free || free == usize::MAX || free + 1 == screen.height {
            output.write_all(line.as_bytes())?;
            next += 1;
            free = if free == usize::MAX { free } else { free.saturating_sub(rows) };
            continue;
        }
        status(total - next, screen.width, is_colored, output)?;
        let key = loop {
            if let Some(key) = keyboard.read() {
                break key;
            }
        };
        output.write_all(b"\r\x1b[K")?;
        match key {
            Key::Letter(' ' | 'f') | Key::PageDown => free = screen.height - 1,
            Key::Letter('j') | Key::Down => free = rows,
            Key::Letter('a' | 'G') | Key::End => free = usize::MAX,
            Key::Letter('q' | 'Q') | Key::Stop => break,
            Key::Letter(_) => {}
        }
    }
    output.flush()?;
    Ok(Left { hidden: total - next, total })
}

fn status(lines: usize, width: usize, is_colored: bool, output: &mut dyn Write) -> std::io::Result<()> {
    let text: String = format!("-- {lines} more: {KEYS} --").chars().take(width.saturating_sub(1)).collect();
    match is_colored {
        true => write!(output, "\x1b[7m{text}\x1b[0m")?,
        false => write!(output, "{text}")?,
    }
    output.flush()
}

/// Gives the text to the user's pager, and waits for its end; `idle` is called meanwhile. `false` if it could not be
/// started.
pub fn page_with(program: &str, less: Option<&str>, text: &str, idle: impl FnMut()) -> bool {
    let mut command = shell::command(program);
    if let Some(options) = less {
        command.env("LESS", options);
    }
    shell::run(&mut command, Some(text.to_owned()), idle).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_if_its_rows_leave_one_for_the_prompt() {
        let screen = Screen { width: 10, height: 4 };
        assert!(screen.fits("a\nb\nc\n") && !screen.fits("a\nb\nc\nd\n"));
        assert!(screen.fits("0123456789\nb\nc\n"));
        assert!(!screen.fits("01234567890\nb\nc\n"));
        assert!(screen.fits("\x1b[31m0123456789\x1b[0m\nb\nc\n"));
    }
}
