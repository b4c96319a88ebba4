//! `summary`: what is available of a family, what is not and why.

use super::listing::{Listed, State, push_alerts};
use super::{Command, Example, Group, Scope};
use crate::catalog::Digest;
use crate::error::{Error, Result};
use crate::model::Severity;
use crate::playground::Playground;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;
use serde::Serialize;
use std::collections::BTreeSet;

/// `summary [NAME]`
pub(super) struct Summary;

/// The arguments of `summary`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A family, or a model of it; without it, everything that `open` found
    #[arg(value_name = "MODEL")]
    name: Option<String>,
}

#[derive(Serialize)]
struct Summarized {
    families: Vec<Family>,
    runtimes: Vec<Runtime>,
}

#[derive(Serialize)]
struct Family {
    family: String,
    rows: Vec<Row>,
}

/// A variant, or a backend and a precision of which there is none.
#[derive(Serialize)]
struct Row {
    backend: String,
    precision: Option<String>,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Listed>,
}

#[derive(Serialize)]
struct Runtime {
    backend: String,
    name: Option<String>,
    version: Option<String>,
    obstacle: Option<Error>,
}

impl Command for Summary {
    type Arguments = Arguments;
    const NAME: &'static str = "summary";
    const SUMMARY: &'static str = "Show what there is of a network, by backend and precision";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "open .; load all; summary", shows: "every variant with its size and accuracy" },
        Example { line: "summary resnet8", shows: "one family" },
    ];

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
        listed.iter_mut().for_each(|model| model.look_at_accuracy(playground));
        report(summarize(listed, playground))
    }
}

/// The family that the user means: by its own name, or by the name of one of its models.
fn family_of(name: &str, listed: &[Listed], playground: &Playground) -> Result<String> {
    match listed.iter().find(|model| model.family == name) {
        Some(model) => Ok(model.family.clone()),
        None => playground.find_one(name).map(|target| target.family),
    }
}

fn summarize(listed: Vec<Listed>, playground: &Playground) -> Summarized {
    let mut families: Vec<Family> = Vec::new();
    for model in listed {
        let row = Row {
            backend: model.backend.clone(),
            precision: model.digest.as_ref().map(|digest| digest.precision.clone()),
            state: model.state,
            model: Some(model),
        };
        let family = row.model.as_ref().map_or("", |model| &model.family);
        match families.last_mut() {
            Some(last) if last.family == family => last.rows.push(row),
            _ => families.push(Family { family: family.to_owned(), rows: vec![row] }),
        }
    }
    families.iter_mut().for_each(add_missing);
    let backends: BTreeSet<&str> = families
        .iter()
        .flat_map(|family| &family.rows)
        .map(|row| row.backend.as_str())
        .filter(|backend| !backend.is_empty())
        .collect();
    let runtimes = backends.into_iter().filter_map(|id| runtime(id, playground)).collect();
    Summarized { families, runtimes }
}

/// Adds a row for each precision that one backend has in this family and another of its backends has not,
/// and puts the rows in the order of backend and precision.
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

fn report(summarized: Summarized) -> Result<Report> {
    let mut report = Report::new(&summarized)?;
    let is_one = summarized.families.len() == 1;
    let mut columns = vec![
        Column::text("backend"),
        Column::text("precision"),
        Column::text("scheme").rank(4),
        Column::text("model"),
        Column::number("layers").rank(3),
        Column::number("parameters").rank(5),
        Column::number("size"),
        Column::number("quantized").rank(2),
        Column::number("accuracy").rank(1),
        Column::text("state"),
    ];
    if !is_one {
        columns.insert(0, Column::text("family"));
    }
    let mut table = Table::new(columns);
    if let ([family], true) = (&summarized.families[..], is_one) {
        table = table.titled(family.family.clone());
    }
    for family in &summarized.families {
        for (index, row) in family.rows.iter().enumerate() {
            let mut cells = cells(row);
            if !is_one {
                let text = if index == 0 { family.family.clone() } else { String::new() };
                cells.insert(
                    0,
                    Cell { text, raw: family.family.clone().into(), tone: Tone::Heading, chart: None },
                );
            }
            table.row(cells);
        }
    }
    report = report.table(table);
    let models =
        || summarized.families.iter().flat_map(|family| &family.rows).filter_map(|row| row.model.as_ref());
    report = accuracy_lines(&models().collect::<Vec<_>>()).into_iter().fold(report, Report::toned_line);
    // Warnings were shown by `load`; what is dangerous is worth saying twice.
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
    Ok(summarized.runtimes.iter().fold(report, |report, runtime| report.toned_line(runtime_line(runtime))))
}

/// Where the accuracies come from, and which are no longer those of their models.
fn accuracy_lines(models: &[&Listed]) -> Vec<Vec<(Tone, String)>> {
    let told: Vec<_> = models.iter().filter_map(|model| Some((model, model.accuracy.as_ref()?))).collect();
    let Some((_, first)) = told.first() else { return Vec::new() };
    let mut over: Vec<String> = told
        .iter()
        .filter_map(|(_, told)| match (told.accuracy.samples, &told.accuracy.data) {
            (Some(samples), Some(data)) => Some(format!(" over {samples} samples of {data},")),
            (Some(samples), None) => Some(format!(" over {samples} samples,")),
            (None, Some(data)) => Some(format!(" over {data},")),
            (None, None) => None,
        })
        .collect();
    over.sort();
    over.dedup();
    let over = if over.len() == 1 { over.swap_remove(0) } else { String::new() };
    let mut lines = vec![vec![(Tone::Dim, format!("accuracy:{over} as {} says", first.source))]];
    lines.extend(told.iter().filter(|(_, told)| told.is_stale == Some(true)).map(|(model, told)| {
        vec![
            (Tone::Warning, "stale: ".to_owned()),
            (Tone::Name, model.name.clone()),
            (Tone::Plain, format!(" has changed since {} told its accuracy", told.source)),
        ]
    }));
    lines
}

fn cells(row: &Row) -> Vec<Cell> {
    let model = row.model.as_ref();
    let digest = model.and_then(|model| model.digest.as_ref());
    let tone = match row.state {
        State::Missing => Tone::Dim,
        State::Failed => Tone::Bad,
        State::Loaded | State::Found => Tone::Plain,
    };
    let backend =
        if row.backend.is_empty() { Cell::missing() } else { Cell::text(row.backend.clone()).tone(tone) };
    vec![
        backend,
        Cell::option(row.precision.clone(), |precision| Cell::text(precision).tone(tone)),
        Cell::option(digest.and_then(|digest| digest.scheme.clone()), Cell::text),
        Cell::option(model, Listed::name_cell),
        Cell::option(digest, |digest| Cell::count(digest.layers as u64)),
        Cell::option(digest, |digest| Cell::count(digest.parameters)),
        Cell::option(model, |model| Cell::bytes(model.bytes)),
        Cell::option(digest.and_then(|digest| digest.quantized_share), Cell::percent),
        Cell::option(model.and_then(|model| model.accuracy.as_ref()), |told| {
            let tone = if told.is_stale == Some(true) { Tone::Warning } else { Tone::Plain };
            Cell::percent(told.accuracy.top1).tone(tone)
        }),
        row.state.cell(),
    ]
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
                (Tone::Warning, format!("inspects only: {}", error.one_line())),
                (Tone::Plain, format!(". {hint}")),
            ]
        }
    }
}
