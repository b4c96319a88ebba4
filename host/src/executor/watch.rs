//! `watch`: a line is run again whenever a file that it read changes.

use super::{Executor, Origin, unparsable};
use crate::baseline::{Tolerance, Values, changes, of_results};
use crate::cache::Stamp;
use crate::commands::{Prepared, Round, Scope, find};
use crate::error::{Error, ErrorKind, Result};
use crate::input::Selection;
use crate::language::{Line, Statement, parse};
use crate::playground::Playground;
use crate::render::report::{Effect, Report};
use crate::render::text::counted;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often files are checked.
const INTERVAL: Duration = Duration::from_millis(300);
/// How soon Ctrl-C is noticed.
const STEP: Duration = Duration::from_millis(50);
/// At most this many entries of a folder are checked.
const MAX_ENTRIES: usize = 10_000;
/// Arguments that name files to read, by their ids.
const READ: [&str; 6] = ["data", "labels", "targets", "classes", "sources", "words"];

/// What is known about a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    Missing,
    File(Stamp),
    /// A folder's modification time and entries.
    Folder(Option<SystemTime>, Vec<(PathBuf, Look)>),
}

type Looks = BTreeMap<PathBuf, Look>;

impl Look {
    fn at(path: &Path, depth: usize) -> Self {
        if let Ok(stamp) = Stamp::read(path) {
            return Self::File(stamp);
        }
        let Ok(entries) = std::fs::read_dir(path) else { return Self::Missing };
        let mut paths: Vec<PathBuf> = entries.flatten().take(MAX_ENTRIES).map(|entry| entry.path()).collect();
        paths.sort();
        // Class folders, not their files: a folder's own time changes when one of its files comes or goes.
        let inner = paths.into_iter().filter(|_| depth > 0).map(|path| {
            let look = Self::at(&path, depth - 1);
            (path, look)
        });
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        Self::Folder(modified, inner.collect())
    }
}

fn look_at(files: impl IntoIterator<Item = PathBuf>) -> Looks {
    files.into_iter().map(|file| (file.clone(), Look::at(&file, 1))).collect()
}

impl Executor {
    /// Runs a line, and again whenever one of its files changes, until Ctrl-C or for this many runs.
    ///
    /// # Errors
    /// Those of the first run; `Cancelled` by Ctrl-C, except at a prompt.
    pub(super) fn watch(&mut self, times: Option<u64>, line: &str, origin: Origin<'_>) -> Result<()> {
        let was_watching = std::mem::replace(&mut self.is_watching, true);
        let ended = self.watch_until_it_ends(times, line, origin);
        self.is_watching = was_watching;
        match ended {
            // Ctrl-C is the normal end.
            Err(error) if error.kind() == ErrorKind::Cancelled && matches!(origin, Origin::Prompt { .. }) => {
                Ok(())
            }
            ended => ended,
        }
    }

    fn watch_until_it_ends(&mut self, times: Option<u64>, line: &str, origin: Origin<'_>) -> Result<()> {
        let statement = one_statement(line)?;
        let mut format = self.playground.settings.format;
        // Changes during the first run count, too.
        let before = look_at(self.files_of(line, &statement));
        let (command, report) =
            self.compute(line, &statement, &mut format).map_err(|error| error.without_span())?;
        let mut failure = None;
        match report.pending_effect() {
            Effect::None | Effect::Left => {}
            Effect::Fail(error) if error.kind() == ErrorKind::Cancelled => return Err(error.clone()),
            Effect::Fail(error) => failure = Some(error.clone()),
            _ => {
                return Err(Error::usage(format!("`{command}` cannot be watched"))
                    .with_hint("Watch a command that reads models, such as `compare`."));
            }
        }
        let first = Round::new(1, line, Vec::new(), Vec::new(), report.value().clone());
        self.show(&Report::of(&first).laid_out_as(&report), format, origin);
        let value = report.into_value();
        let mut values = values_of(command, &value);
        self.playground.results.insert(command, value);

        let mut seen = look_at(self.files_of(line, &statement));
        seen.extend(before);
        if times != Some(1) {
            if seen.is_empty() {
                return Err(Error::state(format!(
                    "`{command}` reads no model, input or data that could change"
                )));
            }
            self.ui.remark(&format!("watching {}; Ctrl-C ends", counted(seen.len(), "file")));
        }
        let (mut run, mut said) = (1, None);
        // Changes since the last successful run.
        let mut changed: BTreeMap<PathBuf, String> = BTreeMap::new();
        while times.is_none_or(|times| run < times) {
            let now = self.wait_for_change(&seen)?;
            changed.extend(changed_names(&seen, &now));
            // Taken before the run, so that changes during it count.
            seen = now;
            match self.run_again(line, &statement, &changed, run + 1, &mut values, origin) {
                Ok(found) => {
                    (run, said, failure) = (run + 1, None, found);
                    changed.clear();
                    if let Some(error) = &failure {
                        self.ui.warning(&error.one_line());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    // Report once while a file is still being written.
                    let message = format!("waiting for the files to become usable: {}", error.one_line());
                    if said.as_ref() != Some(&message) {
                        self.ui.warning(&message);
                        said = Some(message);
                    }
                }
            }
            for file in self.files_of(line, &statement) {
                seen.entry(file.clone()).or_insert_with(|| Look::at(&file, 1));
            }
            if self.ui.is_output_closed() || self.ui.has_output_failed() {
                break;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The state of the files after the next change, once they have stopped changing.
    fn wait_for_change(&self, seen: &Looks) -> Result<Looks> {
        let mut last: Option<Looks> = None;
        loop {
            let end = Instant::now() + INTERVAL;
            while Instant::now() < end {
                self.cancel.check()?;
                std::thread::sleep(STEP);
            }
            let now = look_at(seen.keys().cloned());
            if now == *seen {
                last = None;
            } else if last.as_ref() == Some(&now) {
                return Ok(now);
            } else {
                last = Some(now);
            }
        }
    }

    /// The failure that the line itself reports, as `baseline check` does.
    fn run_again(
        &mut self,
        line: &str,
        statement: &Statement,
        changed: &BTreeMap<PathBuf, String>,
        run: u64,
        values: &mut Values,
        origin: Origin<'_>,
    ) -> Result<Option<Error>> {
        self.prepare_again(changed)?;
        let mut format = self.playground.settings.format;
        let (command, report) = self.compute(line, statement, &mut format)?;
        let failure = match report.pending_effect() {
            Effect::Fail(error) if error.kind() == ErrorKind::Cancelled => return Err(error.clone()),
            Effect::Fail(error) => Some(error.clone()),
            _ => None,
        };
        let value = report.into_value();
        let now = values_of(command, &value);
        let moved = changes(values, &now, &|_| Tolerance { relative: 0.0, absolute: 0.0 });
        let names = changed.values().cloned().collect();
        let round = Round::new(run, line, names, moved, value.clone()).report();
        self.show(&round, format, origin);
        *values = now;
        self.playground.results.insert(command, value);
        self.playground.backends.idle();
        Ok(failure)
    }

    /// Reads the input and the data sets whose files changed again.
    fn prepare_again(&mut self, changed: &BTreeMap<PathBuf, String>) -> Result<()> {
        let again: Vec<_> = self.playground.preparations.values().cloned().collect();
        for preparation in
            again.into_iter().filter(|one| one.files.iter().any(|file| changed.contains_key(file)))
        {
            let prepared = Prepared::new(&preparation.line)?;
            let scope = Scope { ui: &self.ui, cancel: &self.cancel };
            let base = std::mem::replace(&mut self.playground.base, preparation.base);
            let result = prepared.run(&mut self.playground, &scope);
            self.playground.base = base;
            result?;
        }
        Ok(())
    }

    /// The files of the loaded models and of those that the line names, of the input, of the data sets, and of the line's
    /// own data.
    fn files_of(&self, text: &str, statement: &Statement) -> Vec<PathBuf> {
        let playground = &self.playground;
        let mut files: Vec<PathBuf> = playground.loaded().flat_map(|loaded| loaded.files()).collect();
        files.extend(playground.preparations.values().flat_map(|one| one.files.iter().cloned()));
        let line = Line::new(text, statement, &playground.variables);
        if let Ok(prepared) = line.and_then(|line| Prepared::new(&line)) {
            let models = prepared.models();
            let named = models.iter().filter_map(|name| playground.find_all(name).ok());
            files.extend(named.flatten().map(|target| target.path));
            files.extend(files_read(&prepared, playground));
        }
        files.sort();
        files.dedup();
        files
    }
}

/// The existing files that a line's arguments name.
pub(super) fn files_read(prepared: &Prepared, playground: &Playground) -> Vec<PathBuf> {
    let named = files_named(prepared).into_iter().map(|file| playground.path(&file));
    named.filter(|path| path.exists()).collect()
}

/// What of a line's arguments may be the names of files to read.
pub(super) fn files_named(prepared: &Prepared) -> Vec<String> {
    let paths = prepared.paths();
    let values = paths.iter().filter(|(id, _)| READ.contains(&id.as_str())).map(|(_, value)| value.as_str());
    // `NAME=FILE`, and `FILE:ARRAY[0:4]`.
    let texts = values.flat_map(|value| [Some(value), value.split_once('=').map(|(_, file)| file)]).flatten();
    texts.map(|text| Selection::parse(text).map_or(text, |(file, _)| file).to_owned()).collect()
}

fn one_statement(line: &str) -> Result<Statement> {
    let mut statements = parse(line).map_err(|problems| {
        problems
            .first()
            .map_or_else(|| Error::usage("unreadable"), |problem| unparsable(problem).without_span())
    })?;
    match statements.pop() {
        Some(statement) if statements.is_empty() => Ok(statement),
        _ => Err(Error::usage("`watch` takes one command")),
    }
}

/// The numbers and verdicts of a result.
fn values_of(command: &str, value: &serde_json::Value) -> Values {
    let reports = find(command).map(|entry| (entry.reports)()).unwrap_or_default();
    of_results(std::iter::once((command, value, reports)))
}

/// The files that changed, with their names.
fn changed_names(before: &Looks, now: &Looks) -> BTreeMap<PathBuf, String> {
    let changed = now.iter().filter(|(path, look)| before.get(*path) != Some(*look));
    let name = |path: &PathBuf| {
        path.file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
    };
    changed.map(|(path, _)| (path.clone(), name(path))).collect()
}
