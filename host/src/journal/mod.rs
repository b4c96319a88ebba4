//! What happened in a script, for continuous integration: JUnit's XML, JSON, Markdown. The same script with the same
//! outcome gives the same file: no host name, and no durations, which are `null` in the results. (What `bench` computes
//! from them stays.)

mod junit;
mod markdown;

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use serde_json::{Value, json};
use std::path::Path;

/// The commands that count as checks.
const CHECKS: [&str; 2] = ["assert", "expect-error"];

/// The statements of a script that were executed, in order.
#[derive(Debug, Default)]
pub struct Journal {
    /// The script.
    pub script: String,
    steps: Vec<Step>,
    section: String,
}

/// One statement.
#[derive(Debug)]
struct Step {
    section: String,
    file: String,
    line: usize,
    /// The variables of the loops around it.
    round: Option<String>,
    command: &'static str,
    text: String,
    error: Option<Error>,
    result: Value,
}

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// An assertion is false.
    Failed,
    /// Something else went wrong.
    Broken,
}

impl Step {
    fn is_check(&self) -> bool {
        CHECKS.contains(&self.command)
            || (self.command == "baseline" && self.text.split_whitespace().nth(1) == Some("check"))
    }

    /// Its line, its round, and its text.
    fn name(&self, text: &str) -> String {
        match &self.round {
            Some(round) => format!("line {} ({round}): {text}", self.line),
            None => format!("line {}: {text}", self.line),
        }
    }

    fn outcome(&self) -> Outcome {
        match &self.error {
            None => Outcome::Passed,
            Some(error) if error.kind() == ErrorKind::Assertion => Outcome::Failed,
            Some(_) => Outcome::Broken,
        }
    }
}

/// A statement's position and text.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The name of the text.
    pub file: &'a str,
    /// The line, counted from 1.
    pub line: usize,
    /// The statement.
    pub text: &'a str,
}

impl Journal {
    /// For a script with this name.
    pub fn of(script: &Path) -> Self {
        Self { script: script.display().to_string(), ..Self::default() }
    }

    /// Records a statement, and the rounds of the loops around it; what follows `section` is grouped under its title.
    pub fn note(
        &mut self,
        place: Place<'_>,
        rounds: &[String],
        command: &'static str,
        outcome: std::result::Result<Value, Error>,
    ) {
        let (result, error) = match outcome {
            Ok(result) => (result, None),
            Err(error) => (Value::Null, Some(error)),
        };
        if command == "section"
            && let Some(title) = result.get("title").and_then(Value::as_str)
        {
            title.clone_into(&mut self.section);
        }
        self.steps.push(Step {
            section: self.section.clone(),
            file: place.file.to_owned(),
            line: place.line,
            round: (!rounds.is_empty()).then(|| rounds.join(", ")),
            command,
            text: place.text.to_owned(),
            error,
            result,
        });
    }

    /// What is reported: checks, and whatever went wrong.
    fn reported(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_check() || step.error.is_some())
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.reported().filter(|step| step.outcome() == outcome).count()
    }

    /// Writes the report in the format of the file's extension: `.xml`, `.json` or `.md`.
    ///
    /// # Errors
    /// `Usage` for another extension, and those of writing.
    pub fn write(&self, path: &Path) -> Result<()> {
        let content = match Format::of(path)? {
            Format::JUnit => junit::text(self)?,
            Format::Json => format!("{:#}\n", self.json()).into_bytes(),
            Format::Markdown => markdown::text(self).into_bytes(),
        };
        file::write(path, &content, true)
    }

    fn json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            json!({
                "section": step.section,
                "file": step.file,
                "line": step.line,
                "round": step.round,
                "command": step.command,
                "text": step.text,
                "outcome": match step.outcome() {
                    Outcome::Passed => "passed",
                    Outcome::Failed => "failed",
                    Outcome::Broken => "broken",
                },
                "error": step.error,
                "result": step.result,
            })
        });
        json!({
            "script": self.script,
            "passed": self.count(Outcome::Passed),
            "failed": self.count(Outcome::Failed),
            "broken": self.count(Outcome::Broken),
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    JUnit,
    Json,
    Markdown,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match ending.as_str() {
            "xml" => Ok(Self::JUnit),
            "json" => Ok(Self::Json),
            "md" => Ok(Self::Markdown),
            _ => Err(Error::usage(format!("`{}` is not a report format", path.display()))
                .with_hint("Give a file that ends in .xml (JUnit), .json or .md.")),
        }
    }
}

/// Checks that reports can be written in the formats of these files.
///
/// # Errors
/// `Usage` for one with another extension.
pub fn check_formats(paths: &[impl AsRef<Path>]) -> Result<()> {
    paths.iter().try_for_each(|path| Format::of(path.as_ref()).map(|_| ()))
}
