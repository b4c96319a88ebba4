//! `load`: inspect models and keep them in memory.

use super::fields::push_alerts;
use super::{Command, Example, Group, Scope};
use crate::catalog::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::playground::{Loaded, LoadedHow, Playground, Target};
use crate::render::record::{Field, Record, ReportShape, Unit, word};
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use std::time::Instant;

/// `load [NAME… | all] [--as ALIAS]`
pub(super) struct Load;

/// The arguments of `load`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Models, families, patterns such as `*.onnx`, or `all`; without any, everything that `open` found, if it is one family
    #[arg(value_name = "MODEL")]
    names: Vec<String>,
    /// Another name for the model
    #[arg(long = "as", value_name = "ALIAS")]
    alias: Option<String>,
}

pub(super) struct LoadRow {
    name: String,
    how: Option<LoadedHow>,
    digest: Option<Digest>,
    bytes: Option<u64>,
    time_ms: f64,
    error: Option<Error>,
}

pub(super) struct Outcome {
    loaded: usize,
    failed: usize,
    evicted: Vec<String>,
    models: Vec<LoadRow>,
}

impl Record for Outcome {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("loaded", Unit::Count, "Models that are loaded now", |outcome| outcome.loaded),
            Self::field("failed", Unit::Count, "Models that could not be loaded", |outcome| outcome.failed),
            Self::field("evicted", Unit::Name, "Models evicted to stay within the cache limit", |outcome| {
                outcome.evicted.clone()
            }),
            Self::list("models", "The models asked for", |outcome| &outcome.models),
        ]
    }
}

impl Record for LoadRow {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the model", |row| row.name.clone())
                .title("model")
                .tone(|row| if row.error.is_some() { Tone::Bad } else { Tone::Name }),
            Self::field(
                "how",
                Unit::Text,
                "Whether it came from the cache or was read from its file",
                |row| row.how.map(word),
            )
            .choices(&["hit", "same-content", "read", "read-again"])
            .title("from")
            .text(|row| from(row).1.to_owned())
            .tone(|row| from(row).0)
            .after("time_ms"),
            Self::flat(Digest::fields(), |row| row.digest.as_ref())
                .change("precision", |precision| {
                    precision
                        .title("precision")
                        .means("Numeric precision and quantization scheme, or why the file cannot be loaded")
                        .text(precision_of)
                        .tone(|row| if row.error.is_some() { Tone::Bad } else { Tone::Plain })
                })
                .change("layers", |layers| layers.title("layers").rank(2))
                .change("parameters", |parameters| parameters.title("parameters").rank(1)),
            Self::field("bytes", Unit::Bytes, "Size of its files", |row| row.bytes)
                .title("size")
                .rank(1)
                .after("parameters"),
            Self::field("time_ms", Unit::Duration, "Time that loading took", |row| row.time_ms)
                .title("time")
                .rank(3)
                .tone(|_| Tone::Dim),
            Self::error("error", "Why it could not be loaded", |row| row.error.as_ref()),
        ]
    }
}

fn precision_of(row: &LoadRow) -> String {
    match (&row.digest, &row.error) {
        (Some(digest), _) => digest.precision_text(),
        (None, Some(error)) => error.one_line(),
        (None, None) => String::new(),
    }
}

fn from(row: &LoadRow) -> (Tone, &'static str) {
    match (row.how, &row.error) {
        (_, Some(_)) => (Tone::Bad, "failed"),
        (Some(LoadedHow::Hit), _) => (Tone::Plain, "cache"),
        (Some(LoadedHow::SameContent), _) => (Tone::Plain, "cache (touched, same content)"),
        (Some(LoadedHow::ReadAgain), _) => (Tone::Warning, "file (changed)"),
        (Some(LoadedHow::Read) | None, _) => (Tone::Plain, "file"),
    }
}

impl Command for Load {
    type Arguments = Arguments;
    const NAME: &'static str = "load";
    const SUMMARY: &'static str = "Inspect models and keep them in memory";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "open .; load all", shows: "everything that `open` found" },
        Example { line: "load resnet8_int8.onnx --as q", shows: "one model, called `q` from now on" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Outcome>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let targets = targets(&arguments.names, playground)?;
        if let (Some(alias), [_, _, ..]) = (&arguments.alias, &targets[..]) {
            return Err(Error::usage(format!("`--as {alias}` needs one model, not {}", targets.len())));
        }
        if let (Some(alias), [target]) = (&arguments.alias, &targets[..]) {
            playground.check_alias(alias, &target.path)?;
        }
        let outcome = load_all(&targets, playground, scope, &|playground, target, scope| {
            let task = scope.ui.task(scope.cancel);
            playground.load(target, &task)
        })?;
        if let (Some(alias), [target]) = (&arguments.alias, &targets[..]) {
            playground.set_alias(alias, &target.path)?;
        }
        choose_current(&targets, playground);
        Ok(report(&outcome).preparation(true))
    }
}

/// The models that the names refer to, each once.
fn targets(names: &[String], playground: &Playground) -> Result<Vec<Target>> {
    if names.is_empty() {
        let all = playground.targets();
        let is_one_family = all.windows(2).all(|pair| pair[0].family == pair[1].family);
        return match (all.is_empty(), is_one_family) {
            (true, _) => {
                Err(Error::state("nothing is open").with_hint("Open a folder of models first: `open PATH`."))
            }
            (false, true) => Ok(all),
            (false, false) => Err(Error::new(ErrorKind::Ambiguous, "several families are open")
                .with_hint("Name a family or a model, or write `load all`; see `models`.")),
        };
    }
    playground.find_each(names)
}

type Loading = dyn Fn(&mut Playground, &Target, &Scope<'_>) -> Result<(std::sync::Arc<Loaded>, LoadedHow)>;

/// Loads the targets one after another. If there is a single target, its failure is the command's; of several, each
/// failure is a row.
pub(super) fn load_all(
    targets: &[Target],
    playground: &mut Playground,
    scope: &Scope<'_>,
    loading: &Loading,
) -> Result<Outcome> {
    let mut outcome = Outcome { loaded: 0, failed: 0, evicted: Vec::new(), models: Vec::new() };
    for target in targets {
        scope.cancel.check()?;
        let started = Instant::now();
        let result = loading(playground, target, scope);
        let time_ms = started.elapsed().as_secs_f64() * 1e3;
        let name = target.id.clone();
        outcome.models.push(match result {
            Ok((loaded, how)) => {
                outcome.loaded += 1;
                let digest = Some(Digest::new(loaded.info()));
                LoadRow { name, how: Some(how), digest, bytes: Some(loaded.bytes), time_ms, error: None }
            }
            Err(error) if targets.len() == 1 || error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                outcome.failed += 1;
                LoadRow { name, how: None, digest: None, bytes: None, time_ms, error: Some(error) }
            }
        });
    }
    outcome.evicted = playground.take_evicted();
    Ok(outcome)
}

/// A single loaded model becomes the current one; of several the first float one, if there is none yet.
fn choose_current(targets: &[Target], playground: &mut Playground) {
    let chosen = match targets {
        [one] => Some(one.path.clone()),
        _ if playground.current.is_some() => return,
        several => {
            let loaded: Vec<_> =
                several.iter().filter_map(|target| playground.loaded_at(&target.path)).collect();
            let is_float = |loaded: &&&std::sync::Arc<Loaded>| loaded.info().scheme.is_none();
            loaded.iter().find(is_float).or(loaded.first()).map(|loaded| loaded.path.clone())
        }
    };
    playground.choose(chosen);
}

/// The report of `load` and `reload`.
pub(super) fn report(outcome: &Outcome) -> Report {
    let mut report = Report::of(outcome).table(Table::of(&outcome.models));
    report = push_alerts(report, outcome.models.iter().map(|row| (row.name.as_str(), row.digest.as_ref())));
    if !outcome.evicted.is_empty() {
        let text =
            format!("evicted to stay within the cache limit: {}; see `cache`", outcome.evicted.join(", "));
        report = report.toned_line([(Tone::Warning, text)]);
    }
    match failure(outcome) {
        Some(error) => report.effect(Effect::Fail(error)),
        None => report,
    }
}

/// The failure of a command that loaded only some of its models: later lines of a script may need the missing ones.
fn failure(outcome: &Outcome) -> Option<Error> {
    let failed: Vec<(&str, &Error)> =
        outcome.models.iter().filter_map(|row| Some((row.name.as_str(), row.error.as_ref()?))).collect();
    let (_, first) = failed.first()?;
    let names: Vec<String> = failed.iter().map(|(name, _)| format!("`{name}`")).collect();
    let message = format!(
        "{} of {} could not be loaded: {}",
        outcome.failed,
        counted(outcome.models.len(), "model"),
        names.join(", ")
    );
    Some(Error::new(first.kind(), message))
}
