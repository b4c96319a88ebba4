//! `summary`: which variants of a network are available, which are not, and why.

use super::fields::listed::{Listed, State, Told};
use super::fields::push_alerts;
use super::{Command, Example, Group, Scope};
use crate::catalog::Digest;
use crate::error::{Error, Result};
use crate::model::Severity;
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit, word};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use std::collections::BTreeSet;
use std::time::Duration;

/// `summary [NAME]`
pub(super) struct Summary;

/// The arguments of `summary`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A family, or a model of it; without it, everything that `open` found
    #[arg(value_name = "MODEL")]
    name: Option<String>,
}

struct Summarized {
    families: Vec<Family>,
    runtimes: Vec<Runtime>,
}

struct Family {
    family: String,
    rows: Vec<Row>,
}

/// A variant, or a backend and a precision without one.
struct Row {
    family: String,
    /// Whether it is the first of its family, and whether there is another family.
    is_first: bool,
    is_one_of_several: bool,
    backend: String,
    precision: Option<String>,
    state: State,
    model: Option<Listed>,
}

struct Runtime {
    backend: String,
    name: Option<String>,
    version: Option<String>,
    obstacle: Option<Error>,
}

impl Record for Summarized {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::list("families", "The families", |summarized| &summarized.families),
            Self::list("runtimes", "The runtimes of the backends", |summarized| &summarized.runtimes),
        ]
    }
}

impl Record for Family {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("family", Unit::Name, "Name of the family", |family| family.family.clone()),
            Self::list("rows", "Its variants, by backend and precision", |family| &family.rows),
        ]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("family", Unit::Text, "Family: files of one network share it", |row| {
                row.family.clone()
            })
            .title("family")
            .text(|row| if row.is_first { row.family.clone() } else { String::new() })
            .tone(|_| Tone::Heading)
            .shown_if(|row| row.is_one_of_several),
            Self::field("backend", Unit::Text, "Backend that reads the model", |row| row.backend.clone())
                .title("backend")
                .text(|row| if row.backend.is_empty() { "–" } else { &row.backend }.to_owned())
                .tone(|row| row.tone()),
            Self::field("precision", Unit::Text, "Numeric precision of the weights and activations", |row| {
                row.precision.clone()
            })
            .title("precision")
            .tone(|row| row.tone()),
            Self::field(
                "state",
                Unit::Text,
                "loaded: kept in memory; found: on disk; failed: cannot be read; missing: another backend has it",
                |row| word(row.state),
            )
            .choices(State::WORDS)
            .title("state")
            .tone(|row| row.state.tone())
            .after("model.accuracy.top1"),
            Self::nested("model", "The model; absent if missing", Listed::fields(), |row| row.model.as_ref())
                .for_machines()
                .omitted_if_missing()
                .change("scheme", |scheme| scheme.title("scheme").rank(4).after("precision"))
                .change("name", |name| name.title("model"))
                .change("layers", |layers| layers.title("layers").rank(3))
                .change("parameters", |parameters| parameters.title("parameters").rank(5))
                .change("bytes", |bytes| bytes.title("size").rank(0).after("model.parameters"))
                .change("quantized_share", |share| share.title("quantized").rank(2))
                .change("accuracy.top1", |top1| {
                    top1.title("accuracy").rank(1).tone(|row| {
                        let told = row.model.as_ref().and_then(|model| model.accuracy.as_ref());
                        let is_stale = told.is_some_and(|told| told.is_stale == Some(true));
                        if is_stale { Tone::Warning } else { Tone::Plain }
                    })
                }),
        ]
    }
}

impl Row {
    fn tone(&self) -> Tone {
        match self.state {
            State::Missing => Tone::Dim,
            State::Failed => Tone::Bad,
            State::Loaded | State::Found => Tone::Plain,
        }
    }
}

impl Record for Runtime {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("backend", Unit::Name, "The backend", |runtime| runtime.backend.clone()),
            Self::field("name", Unit::Text, "Name of its runtime", |runtime| runtime.name.clone()),
            Self::field("version", Unit::Text, "Version of its runtime", |runtime| runtime.version.clone()),
            Self::error("obstacle", "Why the backend cannot run models", |runtime| runtime.obstacle.as_ref()),
        ]
    }
}

impl Command for Summary {
    type Arguments = Arguments;
    const NAME: &'static str = "summary";
    const SUMMARY: &'static str = "Show the variants of a network by backend and precision";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "open .; load all; summary", shows: "every variant with its size and accuracy" },
        Example { line: "summary resnet8", shows: "one family" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Summarized>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        if playground.catalog.is_none() {
            return Err(
                Error::state("nothing is open").with_hint("Open a folder of models first: `open PATH`.")
            );
        }
        let mut listed = Listed::all(playground);
        if let Some(name) = &arguments.name {
            let family = family_of(name, &listed, playground)?;
            listed.retain(|model| model.family == family);
        }
        let measured = playground.measurements.all();
        listed.iter_mut().for_each(|model| model.look_at_accuracy(playground, &measured));
        Ok(report(&summarize(listed, playground)))
    }
}

/// The family that the user means, by its own name or that of one of its models.
fn family_of(name: &str, listed: &[Listed], playground: &Playground) -> Result<String> {
    match listed.iter().find(|model| model.family == name) {
        Some(model) => Ok(model.family.clone()),
        None => playground.find_one(name).map(|target| target.family),
    }
}

fn summarize(listed: Vec<Listed>, playground: &Playground) -> Summarized {
    let mut families: Vec<Family> = Vec::new();
    for model in listed {
        let family = model.family.clone();
        let row = Row {
            family: family.clone(),
            is_first: false,
            is_one_of_several: false,
            backend: model.backend.clone(),
            precision: model.digest.as_ref().map(|digest| digest.precision.clone()),
            state: model.state,
            model: Some(model),
        };
        match families.last_mut() {
            Some(last) if last.family == family => last.rows.push(row),
            _ => families.push(Family { family, rows: vec![row] }),
        }
    }
    families.iter_mut().for_each(add_missing);
    let are_several = families.len() > 1;
    for family in &mut families {
        for (place, row) in family.rows.iter_mut().enumerate() {
            (row.is_first, row.is_one_of_several) = (place == 0, are_several);
        }
    }
    let backends: BTreeSet<&str> = families
        .iter()
        .flat_map(|family| &family.rows)
        .map(|row| row.backend.as_str())
        .filter(|backend| !backend.is_empty())
        .collect();
    let runtimes = backends.into_iter().filter_map(|id| runtime(id, playground)).collect();
    Summarized { families, runtimes }
}

/// Adds a row for each precision that only some backends have in this family, and sorts the rows by backend and
/// precision.
fn add_missing(family: &mut Family) {
    let pairs: BTreeSet<(String, String)> = family
        .rows
        .iter()
        .filter_map(|row| row.precision.clone().map(|precision| (row.backend.clone(), precision)))
        .collect();
    let backends: BTreeSet<&String> = pairs.iter().map(|(backend, _)| backend).collect();
    let precisions: BTreeSet<&String> = pairs.iter().map(|(_, precision)| precision).collect();
    for backend in &backends {
        for precision in &precisions {
            if !pairs.contains(&((*backend).clone(), (*precision).clone())) {
                family.rows.push(Row {
                    family: family.family.clone(),
                    is_first: false,
                    is_one_of_several: false,
                    backend: (*backend).clone(),
                    precision: Some((*precision).clone()),
                    state: State::Missing,
                    model: None,
                });
            }
        }
    }
    let name = |row: &Row| row.model.as_ref().map_or(String::new(), |model| model.name.clone());
    family.rows.sort_by_key(|row| {
        (
            row.backend.clone(),
            row.precision.is_none(),
            precision_rank(row.precision.as_deref()),
            row.precision.clone(),
            name(row),
        )
    });
}

/// Float variants first, then the rest.
fn precision_rank(precision: Option<&str>) -> u8 {
    match precision {
        Some("float64" | "float32") => 0,
        Some("float16" | "bfloat16") => 1,
        _ => 2,
    }
}

fn runtime(backend: &str, playground: &Playground) -> Option<Runtime> {
    let backend = backend.to_owned();
    match playground.backends.runtime(&backend) {
        Ok(status) if status.name.is_none() => None,
        Ok(status) => {
            Some(Runtime { backend, name: status.name, version: status.version, obstacle: status.obstacle })
        }
        Err(error) => Some(Runtime { backend, name: None, version: None, obstacle: Some(error) }),
    }
}

fn report(summarized: &Summarized) -> Report {
    let mut table = Table::of(summarized.families.iter().flat_map(|family| &family.rows));
    if let [family] = &summarized.families[..] {
        table = table.titled(family.family.clone());
    }
    let mut report = Report::of(summarized).table(table);
    let models =
        || summarized.families.iter().flat_map(|family| &family.rows).filter_map(|row| row.model.as_ref());
    report = accuracy_lines(&models().collect::<Vec<_>>()).into_iter().fold(report, Report::toned_line);
    // `load` has shown the warnings; a dangerous file is worth a second one.
    let is_dangerous =
        |digest: &&Digest| digest.alert.as_ref().is_some_and(|finding| finding.severity == Severity::Danger);
    let dangerous = models().map(|model| (model.name.as_str(), model.digest.as_ref().filter(is_dangerous)));
    report = push_alerts(report, dangerous);
    for model in models() {
        if let Some(error) = &model.error {
            report = report.toned_line([
                (Tone::Bad, "failed: ".to_owned()),
                (Tone::Name, model.name.clone()),
                (Tone::Plain, format!(": {}", error.one_line())),
            ]);
        }
    }
    summarized.runtimes.iter().fold(report, |report, runtime| report.toned_line(runtime_line(runtime)))
}

/// Where the accuracies are from, and which models have changed since they were recorded.
fn accuracy_lines(models: &[&Listed]) -> Vec<Vec<(Tone, String)>> {
    let told = || models.iter().filter_map(|model| Some((model, model.accuracy.as_ref()?)));
    // The models that each source speaks of, in the order of the table.
    let mut sources: Vec<(String, Vec<&str>)> = Vec::new();
    for (model, told) in told() {
        let source = source_text(told);
        match sources.iter_mut().find(|(known, _)| *known == source) {
            Some((_, names)) => names.push(&model.name),
            None => sources.push((source, vec![&model.name])),
        }
    }
    let mut lines: Vec<Vec<(Tone, String)>> = match &sources[..] {
        [(source, _)] => vec![vec![(Tone::Dim, format!("accuracy:{source}"))]],
        sources => sources
            .iter()
            .map(|(source, names)| vec![(Tone::Dim, format!("accuracy of {}:{source}", names.join(", ")))])
            .collect(),
    };
    lines.extend(told().filter(|(_, told)| told.is_stale == Some(true)).map(|(model, told)| {
        vec![
            (Tone::Warning, "stale: ".to_owned()),
            (Tone::Name, model.name.clone()),
            (
                Tone::Plain,
                format!(
                    " has changed since its accuracy was recorded in {}; `evaluate` measures it",
                    told.source.unwrap_or_default()
                ),
            ),
        ]
    }));
    lines
}

/// ` over 540 samples of digits.npz, as qp.toml says`.
fn source_text(told: &Told) -> String {
    let over = match (told.accuracy.samples, &told.accuracy.data) {
        (Some(samples), Some(data)) => format!(" over {samples} samples of {data},"),
        (Some(samples), None) => format!(" over {samples} samples,"),
        (None, Some(data)) => format!(" over {data},"),
        (None, None) => String::new(),
    };
    match (told.source, told.age) {
        (Some(source), _) => format!("{over} as {source} says"),
        (None, age) => format!("{over} measured {}", age_text(age.unwrap_or_default())),
    }
}

fn age_text(age: Duration) -> String {
    let (count, unit) = match age.as_secs() {
        0..60 => return "less than a minute ago".to_owned(),
        age @ 60..3600 => (age / 60, "minute"),
        age @ 3600..86_400 => (age / 3600, "hour"),
        age => (age / 86_400, "day"),
    };
    format!("{} ago", counted(usize::try_from(count).unwrap_or(usize::MAX), unit))
}

fn runtime_line(runtime: &Runtime) -> Vec<(Tone, String)> {
    let name = match (&runtime.name, &runtime.version) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        (Some(name), None) => name.clone(),
        (None, _) => "its runtime".to_owned(),
    };
    let start = (Tone::Dim, format!("{}: ", runtime.backend));
    match &runtime.obstacle {
        None => vec![start, (Tone::Dim, format!("runs with {name}"))],
        Some(error) => {
            let hint = error.hints().first().cloned().unwrap_or_default();
            vec![
                start,
                (Tone::Warning, format!("inspection only: {}", error.one_line())),
                (Tone::Plain, format!(". {hint}")),
            ]
        }
    }
}
