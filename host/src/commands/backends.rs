//! `backends`: the plugins, their runtimes, and a check of a library.

use super::{Command, Example, Group, Scope};
use crate::backend::{
    CheckLine, CheckReport, CheckVerdict, OptionInfo, PluginEntry, PluginState, RuntimeOrigin, RuntimeStatus,
};
use crate::error::{Error, ErrorKind, Result};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit, word};
use crate::render::report::{Cell, Effect, Report, Table};
use crate::render::style::Tone;
use clap::Subcommand;
use std::path::{Path, PathBuf};

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
    /// Check whether a library is a plugin that keeps to the contract
    Check {
        /// The library
        #[arg(value_name = "LIBRARY")]
        library: String,
        /// Model files to try it on
        #[arg(value_name = "FILE")]
        samples: Vec<String>,
    },
}

struct Listed {
    plugins: Vec<Row>,
}

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

struct Runtime {
    name: Option<String>,
    version: Option<String>,
    path: Option<PathBuf>,
    /// Why that place was searched.
    origin: Option<RuntimeOrigin>,
    is_loaded: bool,
    obstacle: Option<Error>,
}

impl Record for Listed {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::list("plugins", "The plugins", |listed| &listed.plugins)]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("id", Unit::Name, "Id of the plugin", |row| row.id.clone())
                .title("plugin")
                .tone(|row| if row.error.is_some() { Tone::Bad } else { Tone::Name }),
            Self::field("version", Unit::Text, "Its version", |row| row.version.clone())
                .title("version")
                .rank(2),
            Self::field("path", Unit::Text, "Its library", |row| path_text(&row.path))
                .title("library")
                .rank(4)
                .tone(|_| Tone::Dim)
                .after("error"),
            Self::field("formats", Unit::Text, "File formats that it reads", |row| row.formats.clone())
                .title("formats"),
            Self::field("features", Unit::Text, "What it can do", |row| row.features.clone()),
            Self::list("options", "The settings of a run that it has", |row| &row.options),
            Self::nested("runtime", "Its runtime; null if it cannot be used", Runtime::fields(), |row| {
                row.runtime.as_ref()
            })
            .change("name", |name| name.text(Row::runtime_text).tone(Row::runtime_tone)),
            Self::error("error", "Why the plugin cannot be used", |row| row.error.as_ref()),
        ]
    }
}

impl Row {
    /// The runtime and whether it is there, or why the plugin cannot be used.
    fn runtime_text(&self) -> String {
        match (&self.error, &self.runtime) {
            (Some(error), _) => error.one_line(),
            (None, Some(runtime)) => runtime.text(),
            (None, None) => "–".to_owned(),
        }
    }

    fn runtime_tone(&self) -> Tone {
        match (&self.error, &self.runtime) {
            (Some(_), _) => Tone::Bad,
            (None, Some(runtime)) => runtime.tone(),
            (None, None) => Tone::Dim,
        }
    }
}

impl Record for OptionInfo {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the setting", |option| option.name.clone()),
            Self::field("values", Unit::Text, "The values that it takes; empty if it takes any", |option| {
                option.values.clone()
            }),
            Self::field("help", Unit::Text, "What it does", |option| option.help.clone()),
        ]
    }
}

impl Record for Runtime {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Text, "Name of the runtime, and whether it was found", |runtime| {
                runtime.name.clone()
            })
            .title("runtime"),
            Self::field("version", Unit::Text, "Version of the runtime", |runtime| runtime.version.clone()),
            Self::field("path", Unit::Text, "Where the runtime was found", |runtime| {
                runtime.path.as_deref().map(path_text)
            })
            .title("found in")
            .rank(3)
            .tone(|runtime| if runtime.path.is_some() { Tone::Dim } else { Tone::Plain })
            .after("runtime.origin"),
            Self::field("origin", Unit::Text, "Why that place was searched", |runtime| {
                runtime.origin.map(word)
            })
            .choices(RuntimeOrigin::WORDS)
            .title("found by")
            .rank(1)
            .text(|runtime| runtime.origin.map_or("–", RuntimeOrigin::text).to_owned())
            .tone(|runtime| if runtime.origin.is_some() { Tone::Plain } else { Tone::Dim }),
            Self::field("is_loaded", Unit::Flag, "Whether this process has loaded it", |runtime| {
                runtime.is_loaded
            }),
            Self::error("obstacle", "Why the plugin cannot run models", |runtime| runtime.obstacle.as_ref()),
        ]
    }
}

impl Record for CheckReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("library", Unit::Text, "The library", |checked| path_text(&checked.library)),
            Self::field(
                "plugin",
                Unit::Text,
                "Id of the plugin; null if the check did not get that far",
                |checked| checked.plugin.clone(),
            ),
            Self::list("lines", "What was tried, in order", |checked| &checked.lines),
        ]
    }
}

impl Record for CheckLine {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("claim", Unit::Text, "What must hold", |line| line.claim.clone())
                .title("claim")
                .after("verdict"),
            Self::field(
                "subject",
                Unit::Text,
                "The model file that it was tried on; null for the plugin itself",
                |line| line.subject.clone(),
            )
            .title("tried on")
            .rank(1)
            .after("claim"),
            Self::field("verdict", Unit::Text, "Whether it holds, or could not be tried", |line| {
                word(line.verdict)
            })
            .choices(&["passed", "failed", "skipped"])
            .title("verdict")
            .tone(|line| match line.verdict {
                CheckVerdict::Passed => Tone::Good,
                CheckVerdict::Failed => Tone::Bad,
                CheckVerdict::Skipped => Tone::Dim,
            }),
            Self::field("reason", Unit::Text, "Why, unless it holds", |line| line.reason.clone())
                .title("reason")
                .after("subject"),
        ]
    }
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
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

    fn reports() -> Vec<ReportShape> {
        vec![
            ReportShape::of::<Listed>(1).when("without `info` and `check`"),
            ReportShape::of::<Row>(1).when("of `backends info`"),
            ReportShape::of::<CheckReport>(1).when("of `backends check`"),
        ]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        match arguments.action {
            None => Ok(all(playground)),
            Some(Action::Info { id }) => one(playground, &id),
            Some(Action::Check { library, samples }) => check(playground, &library, &samples),
        }
    }
}

fn all(playground: &Playground) -> Report {
    let plugins = playground.backends.plugins().iter().map(|plugin| row(playground, plugin));
    let listed = Listed { plugins: plugins.collect() };
    let rows = &listed.plugins;
    let mut report = Report::of(&listed).table(Table::of(rows));
    for row in rows {
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
    report
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
    let report = Report::of(&row).fields(vec![
        ("plugin", Cell::name(row.id.clone())),
        ("version", Cell::option(row.version.clone(), Cell::text)),
        ("library", Cell::text(path_text(&row.path))),
        ("features", Cell::text(row.features.join(", "))),
        (
            "runtime",
            Cell::option(row.runtime.as_ref(), |runtime| Cell::text(runtime.text()).tone(runtime.tone())),
        ),
        (
            "found in",
            Cell::option(row.runtime.as_ref().and_then(|runtime| runtime.path.as_deref()), |path| {
                Cell::text(path_text(path))
            }),
        ),
        (
            "found by",
            Cell::option(row.runtime.as_ref().and_then(|runtime| runtime.origin), |origin| {
                Cell::text(origin.text())
            }),
        ),
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
        version: plugin.version(),
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
    /// Its name, its version, and whether it is there.
    fn text(&self) -> String {
        let name = match (&self.name, &self.version) {
            (Some(name), Some(version)) => format!("{name} {version}"),
            (Some(name), None) => name.clone(),
            (None, _) => return "none needed".to_owned(),
        };
        let state = match (&self.obstacle, self.is_loaded) {
            (Some(_), _) => "missing",
            (None, true) => "loaded",
            (None, false) => "found",
        };
        format!("{name} {state}")
    }

    fn tone(&self) -> Tone {
        match (&self.name, &self.obstacle) {
            (None, _) => Tone::Dim,
            (Some(_), Some(_)) => Tone::Warning,
            (Some(_), None) => Tone::Good,
        }
    }
}

fn check(playground: &Playground, library: &str, samples: &[String]) -> Result<Report> {
    let samples: Vec<PathBuf> = samples.iter().map(|sample| playground.path(sample)).collect();
    let checked = playground.backends.check(&playground.path(library), &samples)?;
    let failed = checked.lines.iter().filter(|line| line.verdict == CheckVerdict::Failed).count();
    let report = Report::of(&checked).table(Table::of(&checked.lines));
    if failed == 0 {
        return Ok(report);
    }
    let text = format!("{failed} of {} claims of the contract do not hold", checked.lines.len());
    Ok(report.effect(Effect::Fail(
        Error::new(ErrorKind::Plugin, text).with_hint("See plugins/README.md for the contract."),
    )))
}
