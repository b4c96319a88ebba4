//! The terminal as a source of lines.

use super::helper::QpHelper;
use super::line_source::{LineSource, Typed};
use crate::error::{Error, Result};
use crate::playground::Playground;
use rustyline::error::ReadlineError;
use rustyline::history::{History, MemHistory};
use rustyline::{ColorMode, CompletionType, Config, Editor};

/// A line editor on the terminal.
pub struct Terminal {
    editor: Editor<QpHelper, MemHistory>,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// `Internal` when there is none.
    pub fn new(is_colored: bool) -> Result<Self> {
        let config = Config::builder()
            .auto_add_history(false)
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .completion_prompt_limit(200)
            .color_mode(if is_colored { ColorMode::Forced } else { ColorMode::Disabled })
            .bracketed_paste(true)
            .build();
        let failed = |error: ReadlineError| {
            Error::internal("the terminal cannot be used").with_cause(error.to_string())
        };
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history).map_err(failed)?;
        editor.set_helper(Some(QpHelper::default()));
        Ok(Self { editor })
    }
}

impl LineSource for Terminal {
    fn next(&mut self, prompt: &str, playground: &Playground) -> Typed {
        if let Some(helper) = self.editor.helper_mut() {
            helper.look_at(playground);
        }
        match self.editor.readline(prompt) {
            Ok(line) => {
                // A history that is full or refuses a duplicate is not an error.
                let _ = self.editor.add_history_entry(line.trim());
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => Typed::Nothing,
            Err(_) => Typed::End,
        }
    }

    fn remember_all(&mut self, lines: &[String]) {
        for line in lines {
            let _ = self.editor.history_mut().add(line);
        }
    }
}
