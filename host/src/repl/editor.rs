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
    config: Config,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// `Internal` when there is none.
    pub fn new(is_colored: bool) -> Result<Self> {
        let config = Config::builder()
            .auto_add_history(false)
            .completion_type(CompletionType::List)
            .completion_prompt_limit(200)
            .color_mode(if is_colored { ColorMode::Forced } else { ColorMode::Disabled })
            .bracketed_paste(true)
            .build();
        let editor = editor(config.clone(), MemHistory::with_config(&config), QpHelper::default())?;
        Ok(Self { editor, config })
    }
}

fn editor(config: Config, history: MemHistory, helper: QpHelper) -> Result<Editor<QpHelper, MemHistory>> {
    let mut editor = Editor::with_history(config, history)
        .map_err(|error| Error::internal("the terminal cannot be used").with_cause(error.to_string()))?;
    editor.set_helper(Some(helper));
    Ok(editor)
}

impl LineSource for Terminal {
    fn next(&mut self, prompt: &str, playground: &Playground) -> Typed {
        if let Some(helper) = self.editor.helper_mut() {
            helper.look_at(playground);
        }
        match self.editor.readline(prompt) {
            Ok(line) => Typed::Line(line),
            Err(ReadlineError::Interrupted) => Typed::Nothing,
            Err(_) => Typed::End,
        }
    }

    fn remember_all(&mut self, lines: &[String]) {
        for line in lines {
            // A history that is full or refuses a duplicate is not an error.
            let _ = self.editor.history_mut().add(line);
        }
    }

    /// The editor keeps what it has read beyond a line; only a new one has nothing.
    fn drop_waiting(&mut self) {
        let history = std::mem::take(self.editor.history_mut());
        let helper = self.editor.helper_mut().map(std::mem::take).unwrap_or_default();
        if let Ok(fresh) = editor(self.config.clone(), history, helper) {
            self.editor = fresh;
        }
    }
}
