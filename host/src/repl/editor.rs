//! The terminal as a source of lines.

use super::helper::QpHelper;
use super::line_source::{LineSource, Typed};
use crate::error::{Error, Result};
use crate::playground::Playground;
use rustyline::error::ReadlineError;
use rustyline::history::{History, MemHistory};
use rustyline::{
    Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Editor, Event, EventContext,
    EventHandler, KeyCode, KeyEvent, Modifiers, RepeatCount,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// A line editor on the terminal.
pub struct Terminal {
    editor: Editor<QpHelper, MemHistory>,
    config: Config,
    earlier: Earlier,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// `Internal` when there is none.
    pub fn new(is_colored: bool, is_ascii: bool) -> Result<Self> {
        let config = Config::builder()
            .auto_add_history(false)
            .completion_type(CompletionType::List)
            .completion_prompt_limit(200)
            .completion_show_all_if_ambiguous(true)
            .color_mode(if is_colored { ColorMode::Forced } else { ColorMode::Disabled })
            .bracketed_paste(true)
            .build();
        let earlier = Earlier::default();
        let editor =
            editor(config.clone(), MemHistory::with_config(&config), QpHelper::new(is_ascii), &earlier)?;
        Ok(Self { editor, config, earlier })
    }
}

fn editor(
    config: Config,
    history: MemHistory,
    helper: QpHelper,
    earlier: &Earlier,
) -> Result<Editor<QpHelper, MemHistory>> {
    let mut editor = Editor::with_history(config, history)
        .map_err(|error| Error::internal("the terminal cannot be used").with_cause(error.to_string()))?;
    editor.set_helper(Some(helper));
    for (key, direction) in [(KeyCode::Up, Direction::Back), (KeyCode::Down, Direction::Forth)] {
        let key = KeyEvent(key, Modifiers::NONE);
        editor.bind_sequence(
            key,
            EventHandler::Conditional(Box::new(ByPrefix { direction, earlier: Arc::clone(earlier) })),
        );
    }
    Ok(editor)
}

/// Up and Down: earlier lines that begin with what stands before the cursor. At the end of a line that came from the
/// history, or of an empty one, all of them.
struct ByPrefix {
    direction: Direction,
    earlier: Earlier,
}

/// The lines of the history.
type Earlier = Arc<Mutex<HashSet<String>>>;

impl ByPrefix {
    fn is_earlier(&self, line: &str) -> bool {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner).contains(line)
    }
}

/// Where to in the history.
#[derive(Clone, Copy)]
enum Direction {
    Back,
    Forth,
}

impl ConditionalEventHandler for ByPrefix {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let (line, position) = (context.line(), context.pos());
        let is_search =
            position > 0 && !line.contains('\n') && (position < line.len() || !self.is_earlier(line));
        match self.direction {
            _ if !is_search => None,
            Direction::Back => Some(Cmd::HistorySearchBackward),
            Direction::Forth => Some(Cmd::HistorySearchForward),
        }
    }
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
            self.earlier.lock().unwrap_or_else(PoisonError::into_inner).insert(line.clone());
        }
    }

    /// The editor keeps what it has read beyond a line; only a new one has nothing.
    fn drop_waiting(&mut self) {
        let history = std::mem::take(self.editor.history_mut());
        let helper = self.editor.helper_mut().map(std::mem::take).unwrap_or_default();
        if let Ok(fresh) = editor(self.config.clone(), history, helper, &self.earlier) {
            self.editor = fresh;
        }
    }
}
