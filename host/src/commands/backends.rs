//! `backends`: the plugins, their runtimes, and a check of a library.

use super::{Command, Example, Group, Scope};
use crate::backend::{CheckVerdict, OptionInfo, PluginEntry, PluginState, RuntimeOrigin, RuntimeStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::playground::Playground;
use crate::render::report::{Cell, Column, Effect, Report, Table};
use crate::render::style::Tone;
use clap::Subcommand;
use serde::Serialize;
use std::path::PathBuf;

/// `backends [info ID | check LIBRARY [FILE …]]`
pub(super) struct Backends;

/// The arguments of `backends`.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show one plugin: its formats, features and runtime
    Info {
        /// The plugin's id
        #[arg(value_name = "BACKEND")]
        id: String,
    },
    /// Check whether a library is a plugin that keeps the contract
    Check {
        /// The library
        #[arg(value_name = "LIBRARY")]
        library: String,
        /// Model files that it reads, to try it on
        #[arg(value_name = "FILE")]
        samples: Vec<String>,
    },
}

#[derive(Serialize)]
struct Row {
    id: String,
    version: Option<String>,
    path: PathBuf,
    formats: Vec<String>,
    features: Vec<String>,
    options: Vec<OptionInfo>,
    runtime: Option<Runtime>,
    error: Option<Error>,
}

#[derive(Serialize)]
struct Runtime {
    name: Option<String>,
    version: Option<String>,
    path: Option<PathBuf>,
    /// Why it was looked for there.
    origin: Option<RuntimeOrigin>,
    is_loaded: bool,
    obstacle: Option<Error>,
}

impl Command for Backends {
    type Arguments = Arguments;
    const NAME: &'static str = "backends";
    const SUMMARY: &'static str = "List the plugins and their runtimes, or check one";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "backends", shows: "each plugin, its formats, its runtime and why that one" },
        Example { line: "backends info onnx", shows: "one plugin" },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        match arguments.action {
            None => all(playground),
            Some(Action::Info { id }) => one(playground, &id),
            Some(Action::Check { library, samples }) => check(playground, &library, &samples),
        }
    }
}

fn all(playground: &Playground) -> Result<Report> {
    let rows: Vec<Row> = playground.backends.plugins().iter().map(|plugin| row(playground, plugin)).collect();
    let mut table = Table::new([
        Column::text("plugin"),
        Column::text("version").rank(2),
        Column::text("formats"),
        Column::text("runtime"),
        Column::text("found by").rank(1),
        Column::text("found in").rank(3),
        Column::text("library").rank(4),
    ]);
    for row in &rows {
        let runtime = match (&row.error, &row.runtime) {
            (Some(error), _) => Cell::text(error.one_line()).tone(Tone::Bad),
            (None, Some(runtime)) => runtime_cell(runtime),
            (None, None) => Cell::missing(),
        };
        table.row([
            Cell::text(row.id.clone()).tone(if row.error.is_some() { Tone::Bad } else { Tone::Name }),
            Cell::option(row.version.clone(), Cell::text),
            Cell::text(row.formats.join(", ")),
            runtime,
            Cell::option(row.runtime.as_ref().and_then(|runtime| runtime.origin), origin_cell),
            Cell::option(row.runtime.as_ref().and_then(Runtime::place), |place| {
                Cell::text(place).tone(Tone::Dim)
            }),
            Cell::text(row.path.display().to_string()).tone(Tone::Dim),
        ]);
    }
    let mut report = Report::new(&serde_json::json!({ "plugins": rows }))?.table(table);
    for row in &rows {
        let obstacle = row.runtime.as_ref().and_then(|runtime| runtime.obstacle.as_ref());
        let said = obstacle.map(Error::one_line).into_iter();
        let hints = row.error.iter().chain(obstacle).flat_map(|error| error.hints().to_vec());
        for line in said.chain(hints) {
            report = report.toned_line([(Tone::Warning, format!("{}: {line}", row.id))]);
        }
    }
    if rows.is_empty() {
        report = report.toned_line([(
            Tone::Bad,
            "no plugin was found: put one beside `qp`, or name its folder in QP_PLUGINS".to_owned(),
        )]);
    }
    Ok(report)
}

fn one(playground: &Playground, id: &str) -> Result<Report> {
    let plugin = playground.backends.plugin(id)?;
    let row = row(playground, plugin);
    if let Some(error) = row.error {
        return Err(error);
    }
    let formats = plugin
        .formats()
        .iter()
        .map(|format| {
            let endings: Vec<_> = format.extensions.iter().map(|extension| format!(".{extension}")).collect();
            (format.name.clone(), Cell::text(format!("{} ({})", format.description, endings.join(", "))))
        })
        .collect();
    let report = Report::new(&row)?.fields(vec![
        ("plugin", Cell::name(row.id.clone())),
        ("version", Cell::option(row.version.clone(), Cell::text)),
        ("library", Cell::text(row.path.display().to_string())),
        ("features", Cell::text(row.features.join(", "))),
        ("runtime", Cell::option(row.runtime.as_ref(), runtime_cell)),
        ("found in", Cell::option(row.runtime.as_ref().and_then(Runtime::place), Cell::text)),
        ("found by", Cell::option(row.runtime.as_ref().and_then(|runtime| runtime.origin), origin_cell)),
    ]);
    let report = report.toned_line([(Tone::Heading, "Formats".to_owned())]).fields(formats);
    let settings: Vec<(String, Cell)> = row
        .options
        .iter()
        .map(|option| {
            let values = if option.values.is_empty() {
                String::new()
            } else {
                format!(" ({})", option.values.join(", "))
            };
            (option.name.clone(), Cell::text(format!("{}{values}", option.help)))
        })
        .collect();
    let report = match settings.is_empty() {
        true => report,
        false => report.toned_line([(Tone::Heading, "Settings of a run".to_owned())]).fields(settings),
    };
    let obstacle = row.runtime.as_ref().and_then(|runtime| runtime.obstacle.as_ref());
    let said = obstacle.map(Error::one_line).into_iter();
    let hints = obstacle.into_iter().flat_map(|error| error.hints().to_vec());
    Ok(said.chain(hints).fold(report, |report, line| report.toned_line([(Tone::Warning, line)])))
}

fn row(playground: &Playground, plugin: &PluginEntry) -> Row {
    let error = match plugin.state() {
        PluginState::Broken(error) => Some(error),
        PluginState::Known | PluginState::Loaded => None,
    };
    let (runtime, error) = match error {
        Some(error) => (None, Some(error)),
        None => match playground.backends.find_runtime(plugin.id()) {
            Ok(status) => (Some(Runtime::from(status)), None),
            Err(error) => (None, Some(error)),
        },
    };
    Row {
        id: plugin.id().to_owned(),
        version: plugin.version().map(str::to_owned),
        path: plugin.path().to_owned(),
        formats: plugin.formats().iter().map(|format| format.name.clone()).collect(),
        features: plugin.features().to_vec(),
        options: plugin.options().to_vec(),
        runtime,
        error,
    }
}

impl From<RuntimeStatus> for Runtime {
    fn from(status: RuntimeStatus) -> Self {
        Self {
            name: status.name,
            version: status.version,
            path: status.path,
            origin: status.origin,
            is_loaded: status.is_loaded,
            obstacle: status.obstacle,
        }
    }
}

impl Runtime {
    /// Where it was found.
    fn place(&self) -> Option<String> {
        self.path.as_ref().map(|path| path.display().to_string())
    }
}

fn origin_cell(origin: RuntimeOrigin) -> Cell {
    Cell::text(origin.text())
}

fn runtime_cell(runtime: &Runtime) -> Cell {
    let name = match (&runtime.name, &runtime.version) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        (Some(name), None) => name.clone(),
        (None, _) => return Cell::text("none needed").tone(Tone::Dim),
    };
    match (&runtime.obstacle, runtime.is_loaded) {
        (Some(_), _) => Cell::text(format!("{name} missing")).tone(Tone::Warning),
        (None, true) => Cell::text(format!("{name} loaded")).tone(Tone::Good),
        (None, false) => Cell::text(format!("{name} found")).tone(Tone::Good),
    }
}

fn check(playground: &Playground, library: &str, samples: &[String]) -> Result<Report> {
    let samples: Vec<PathBuf> = samples.iter().map(|sample| playground.path(sample)).collect();
    let checked = playground.backends.check(&playground.path(library), &samples)?;
    let mut table = Table::new([
        Column::text("verdict"),
        Column::text("claim"),
        Column::text("tried on").rank(1),
        Column::text("reason"),
    ]);
    for line in &checked.lines {
        let verdict = match line.verdict {
            CheckVerdict::Passed => Cell::text("passed").tone(Tone::Good),
            CheckVerdict::Failed => Cell::text("failed").tone(Tone::Bad),
            CheckVerdict::Skipped => Cell::text("skipped").tone(Tone::Dim),
        };
        table.row([
            verdict,
            Cell::text(line.claim.clone()),
            Cell::option(line.subject.clone(), Cell::text),
            Cell::option(line.reason.clone(), Cell::text),
        ]);
    }
    let failed = checked.lines.iter().filter(|line| line.verdict == CheckVerdict::Failed).count();
    let report = Report::new(&checked)?.table(table);
    if failed == 0 {
        return Ok(report);
    }
    let text = format!("{failed} of {} claims of the contract do not hold", checked.lines.len());
    Ok(report.effect(Effect::Fail(
        Error::new(ErrorKind::Plugin, text).with_hint("See plugins/README.md for the contract."),
    )))
}
