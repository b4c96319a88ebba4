//! `load`: inspect models and keep them.

use super::listing::{counted, precision_text, push_alerts};
use super::{Command, Example, Group, Scope};
use crate::catalog::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::playground::{Loaded, LoadedHow, Playground, Target};
use crate::render::number;
use crate::render::report::{Cell, Column, Effect, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;
use std::time::Instant;

/// `load [NAME… | all] [--as ALIAS]`
pub(super) struct Load;

/// The arguments of `load`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Models, families, patterns such as `*.onnx`, or `all`; without any, what `open` found if it is one family
    #[arg(value_name = "MODEL")]
    names: Vec<String>,
    /// Another name for the model
    #[arg(long = "as", value_name = "ALIAS")]
    alias: Option<String>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    how: Option<LoadedHow>,
    #[serde(flatten)]
    digest: Option<Digest>,
    bytes: Option<u64>,
    time_ms: f64,
    error: Option<Error>,
}

#[derive(Serialize)]
pub(super) struct Outcome {
    loaded: usize,
    failed: usize,
    evicted: Vec<String>,
    models: Vec<Row>,
}

impl Command for Load {
    type Arguments = Arguments;
    const NAME: &'static str = "load";
    const SUMMARY: &'static str = "Inspect models and keep them at hand";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "open .; load all", shows: "everything that `open` found" },
        Example { line: "load resnet8_int8.onnx --as q", shows: "one model, called `q` from now on" },
    ];

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
        report(outcome)
    }
}

/// The models that the names mean, each once.
fn targets(names: &[String], playground: &Playground) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    if names.is_empty() {
        let all = playground.targets();
        let is_one_family = all.windows(2).all(|pair| pair[0].family == pair[1].family);
        return match (all.is_empty(), is_one_family) {
            (true, _) => {
                Err(Error::state("nothing is open").with_hint("Open a folder of models first: `open PATH`."))
            }
            (false, true) => Ok(all),
            (false, false) => Err(Error::new(ErrorKind::Ambiguous, "there are several families")
                .with_hint("Name a family or a model, or write `load all`; see `models`.")),
        };
    }
    for name in names {
        for target in playground.find_all(name)? {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    Ok(targets)
}

type Loading = dyn Fn(&mut Playground, &Target, &Scope<'_>) -> Result<(std::sync::Arc<Loaded>, LoadedHow)>;

/// Loads the targets one after the other. A single one that fails is the command's error; of several, those
/// that fail are rows.
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
                Row { name, how: Some(how), digest, bytes: Some(loaded.bytes), time_ms, error: None }
            }
            Err(error) if targets.len() == 1 || error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                outcome.failed += 1;
                Row { name, how: None, digest: None, bytes: None, time_ms, error: Some(error) }
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
pub(super) fn report(outcome: Outcome) -> Result<Report> {
    let mut table = Table::new([
        Column::text("model"),
        Column::text("precision"),
        Column::number("layers").rank(2),
        Column::number("parameters").rank(1),
        Column::number("size").rank(1),
        Column::number("time").rank(3),
        Column::text("from"),
    ]);
    for row in &outcome.models {
        let from = match (row.how, &row.error) {
            (_, Some(_)) => Cell::text("failed").tone(Tone::Bad),
            (Some(LoadedHow::Hit), _) => Cell::text("cache"),
            (Some(LoadedHow::SameContent), _) => Cell::text("cache (touched, same content)"),
            (Some(LoadedHow::ReadAgain), _) => Cell::text("file (changed)").tone(Tone::Warning),
            (Some(LoadedHow::Read) | None, _) => Cell::text("file"),
        };
        let precision = match (&row.digest, &row.error) {
            (Some(digest), _) => Cell::text(precision_text(digest)),
            (None, Some(error)) => Cell::text(error.one_line()).tone(Tone::Bad),
            (None, None) => Cell::missing(),
        };
        let tone = if row.error.is_some() { Tone::Bad } else { Tone::Name };
        let digest = row.digest.as_ref();
        table.row([
            Cell::text(row.name.clone()).tone(tone),
            precision,
            Cell::option(digest, |digest| Cell::count(digest.layers as u64)),
            Cell::option(digest, |digest| Cell::count(digest.parameters)),
            Cell::option(row.bytes, Cell::bytes),
            Cell {
                text: number::duration(std::time::Duration::from_secs_f64(row.time_ms / 1e3)),
                raw: row.time_ms.into(),
                tone: Tone::Dim,
                chart: None,
            },
            from,
        ]);
    }
    let mut report = Report::new(&outcome)?.table(table);
    report = push_alerts(report, outcome.models.iter().map(|row| (row.name.as_str(), row.digest.as_ref())));
    if !outcome.evicted.is_empty() {
        let text = format!("dropped for want of room: {}; see `cache`", outcome.evicted.join(", "));
        report = report.toned_line([(Tone::Warning, text)]);
    }
    Ok(match failure(&outcome) {
        Some(error) => report.effect(Effect::Fail(error)),
        None => report,
    })
}

/// What a script has to know although some models were loaded: its later lines may want the others.
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
