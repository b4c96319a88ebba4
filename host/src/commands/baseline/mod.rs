//! `baseline`: save the numbers of this session, and check a later session against them.

mod declaration;

use super::{Command, Entry, Example, Group, Scope, TABLE};
use crate::baseline::{Baseline, Change, Outcome, Tolerance, Values, changes, of_results};
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::playground::Playground;
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;

/// Commands whose results describe the session, its files or times, not models.
const LEFT_OUT: [&str; 10] =
    ["bench", "capture", "data", "input", "load", "models", "plot", "reload", "unload", "use"];

/// `baseline save FILE`, `baseline check FILE`
pub(super) struct BaselineCommand;

/// The arguments of `baseline`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// save: write the numbers and verdicts of the results so far; check: fail if one of them is no longer what the file says
    #[arg(value_enum, value_name = "save|check")]
    action: Action,
    /// The file: JSON, one value per line; edit `tolerance`, and `tolerances` by key or pattern, in it
    #[arg(value_name = "PATH")]
    // Not `file`, which `qp check` takes for one that must be there.
    baseline: String,
    /// With save, replace an existing file, but keep its tolerances
    #[arg(long)]
    force: bool,
    /// With check, the largest relative difference, as a share of the larger number; without it, the file's, initially 1e-6
    #[arg(long, value_name = "SHARE", value_parser = tolerance)]
    tolerance: Option<f64>,
    /// With check, the largest absolute difference, in the number's own unit; without it, the file's, initially 1e-9
    #[arg(long, value_name = "NUMBER", value_parser = tolerance)]
    absolute: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Action {
    Save,
    Check,
}

/// Reads a tolerance.
fn tolerance(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number >= 0.0 && number.is_finite());
    number.ok_or_else(|| "it takes a number from 0 up, as in 1e-3".to_owned())
}

/// What was written.
struct Saved {
    path: String,
    values: usize,
    tolerances: usize,
}

/// The outcome of a check.
struct Checked {
    path: String,
    values: usize,
    moved: usize,
    missing: usize,
    new: usize,
    within: usize,
    changes: Vec<Change>,
}

impl Checked {
    fn new(path: String, values: usize, changes: Vec<Change>) -> Self {
        let count = |outcome| changes.iter().filter(|change| change.outcome == outcome).count();
        Self {
            path,
            values,
            moved: count(Outcome::Moved),
            missing: count(Outcome::Missing),
            new: count(Outcome::New),
            within: count(Outcome::Within),
            changes,
        }
    }
}

impl Command for BaselineCommand {
    type Arguments = Arguments;
    const NAME: &'static str = "baseline";
    const SUMMARY: &'static str = "Save the numbers of the results so far, or fail when they have moved";
    const GROUP: Group = Group::Script;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "compare resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 16; baseline save --force layers.json",
            shows: "a file of numbers and verdicts, one per line, without times",
        },
        Example {
            line: "compare resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 16; baseline save --force layers.json; \
                   baseline check layers.json --tolerance 1e-3",
            shows: "which numbers moved by more than a thousandth; if any did, exit code 3",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Saved>(1).when("of `save`"), ReportShape::of::<Checked>(1).when("of `check`")]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let Arguments { action, baseline: file, force, tolerance, absolute } = arguments;
        let misplaced = |option: &str, action: &str| {
            Err(Error::usage(format!("`{option}` does not go with `baseline {action}`")))
        };
        match action {
            Action::Save if tolerance.is_some() => misplaced("--tolerance", "save"),
            Action::Save if absolute.is_some() => misplaced("--absolute", "save"),
            Action::Save => save(&file, force, playground),
            Action::Check if force => misplaced("--force", "check"),
            Action::Check => check(&file, (tolerance, absolute), playground),
        }
    }
}

/// The numbers and verdicts of the session's results.
fn values_of(playground: &Playground) -> Values {
    let is_kept = |entry: &&Entry| {
        !LEFT_OUT.contains(&entry.name) && !matches!(entry.group, Group::Session | Group::Script)
    };
    let results = TABLE.iter().filter(is_kept).filter_map(|entry| {
        playground.results.get(entry.name).map(|result| (entry.name, result, (entry.reports)()))
    });
    of_results(results)
}

fn known_values(playground: &Playground) -> Result<Values> {
    let values = values_of(playground);
    if values.is_empty() {
        return Err(Error::state("there are no numbers yet")
            .with_hint("Run a command that produces some first, such as `evaluate` or `compare`."));
    }
    Ok(values)
}

fn save(text: &str, force: bool, playground: &Playground) -> Result<Report> {
    let path = playground.path(text);
    file::require_free(&path, force)?;
    // Tolerances that the user edited in the file being replaced.
    let before = Baseline::read(&path).unwrap_or_default();
    let baseline = Baseline { values: known_values(playground)?, ..before };
    file::write(&path, baseline.to_text().as_bytes(), force)?;
    let saved = Saved {
        path: path.display().to_string(),
        values: baseline.values.len(),
        tolerances: baseline.tolerances.len(),
    };
    let kept = match saved.tolerances {
        0 => String::new(),
        count => format!("; {} kept", counted(count, "tolerance")),
    };
    Ok(Report::of(&saved).preparation(true).toned_line([
        (Tone::Plain, format!("{} written to ", counted(saved.values, "value"))),
        (Tone::Name, saved.path),
        (Tone::Plain, kept),
    ]))
}

fn check(
    text: &str,
    (relative, absolute): (Option<f64>, Option<f64>),
    playground: &Playground,
) -> Result<Report> {
    let path = playground.path(text);
    let mut baseline = Baseline::read(&path)?;
    baseline.tolerance = Tolerance {
        relative: relative.unwrap_or(baseline.tolerance.relative),
        absolute: absolute.unwrap_or(baseline.tolerance.absolute),
    };
    let now = known_values(playground)?;
    let found = changes(&baseline.values, &now, &|key| baseline.tolerance_of(key));
    let checked = Checked::new(path.display().to_string(), baseline.values.len(), found);
    Ok(report(&checked))
}

fn report(checked: &Checked) -> Report {
    let mut report = Report::of(checked);
    let failed: Vec<&Change> = checked.changes.iter().filter(|change| change.outcome.is_failure()).collect();
    if !failed.is_empty() {
        report = report.table(Table::of(failed.iter().copied()));
    }
    let counts = [
        (checked.within, "moved within its tolerance", "moved within their tolerance"),
        (checked.new, "is new", "are new"),
    ];
    let rest = counts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("; {count} {}", if *count == 1 { one } else { many }));
    let rest: String = rest.collect();
    if failed.is_empty() {
        return report.toned_line([
            (Tone::Good, "holds: ".to_owned()),
            (Tone::Plain, format!("{} of {}{rest}", counted(checked.values, "value"), checked.path)),
        ]);
    }
    let Checked { moved, missing, path, .. } = checked;
    let all = counted(checked.values, "value");
    let wrong = match (*moved, *missing) {
        (moved, 0) => format!("{moved} of {all} in `{path}` moved"),
        (0, missing) => format!("{missing} of {all} in `{path}` are missing"),
        (moved, missing) => format!("of {all} in `{path}`, {moved} moved and {missing} are missing"),
    };
    let mut error = Error::new(ErrorKind::Assertion, wrong.clone());
    if let Some(first) = failed.first() {
        error = error.with_cause(first.in_words());
    }
    let report = report.line(format!("{wrong}{rest}"));
    report.effect(Effect::Fail(error.with_hint(
        "If the change is intended, write the file again with `baseline save --force`, or raise the key's tolerance in its `tolerances`.",
    )))
}
