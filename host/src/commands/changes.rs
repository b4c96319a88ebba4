//! `changes`: the journal of a changed model, to be seen, saved, replayed and used by other tools.

use super::{Command, Example, Group, Scope};
use crate::editing::{Form, Prepared, again, float_variant, text, translated};
use crate::error::{Error, Result};
use crate::file;
use crate::playground::{Change, Playground};
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use std::sync::Arc;

/// `changes`
pub(super) struct ChangesCommand;

/// The arguments of `changes`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The changed model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Write the changes to this file
    #[arg(long, value_name = "PATH")]
    out: Option<String>,
    /// The form of the file
    #[arg(long = "as", value_name = "FORM", default_value = "script", requires = "out")]
    form: Form,
    /// Replace an existing file
    #[arg(long, requires = "out")]
    force: bool,
    /// Make the changes of this file in the model: all of them, or none
    #[arg(long, value_name = "PATH", conflicts_with = "out")]
    replay: Option<String>,
    /// The model that the file was written for, if its layers have other names
    #[arg(long, value_name = "MODEL", requires = "replay")]
    like: Option<String>,
}

struct Journal<'a> {
    model: &'a str,
    changes: Vec<Row<'a>>,
    undone: usize,
    out: Option<String>,
    /// The lines of a replayed file that fit nothing in the model.
    skipped: Vec<String>,
}

struct Row<'a> {
    number: usize,
    change: &'a Change,
}

impl Record for Journal<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The changed model", |journal| journal.model),
            Self::list("changes", "Its changes, in order", |journal| &journal.changes),
            Self::field("undone", Unit::Count, "Steps that `redo` can make again", |journal| journal.undone),
            Self::field(
                "out",
                Unit::Name,
                "The file they were written to; null without `--out`",
                |journal| journal.out.clone(),
            ),
            Self::field(
                "skipped",
                Unit::Text,
                "Lines of the replayed file whose layer this model does not have",
                |journal| journal.skipped.clone(),
            ),
        ]
    }
}

impl Record for Row<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("number", Unit::Count, "Place in the order, from 1", |row| row.number).title("#"),
            Self::field("line", Unit::Text, "The line that makes it", |row| row.change.line.clone())
                .title("change"),
            Self::field("subject", Unit::Name, "The layer or the tensor that it is about", |row| {
                row.change.subject.clone()
            }),
            Self::field("effect", Unit::Text, "What it did", |row| row.change.effect.clone())
                .title("effect")
                .rank(1),
        ]
    }
}

impl Command for ChangesCommand {
    type Arguments = Arguments;
    const NAME: &'static str = "changes";
    const SUMMARY: &'static str = "List, save and replay the changes of a model";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "use resnet8_int8.onnx; scale fc × 2; set stem.quantized off; changes",
            shows: "the two changes and what they did",
        },
        Example {
            line: "use resnet8_int8.onnx; scale fc × 2; changes --out changes.qp --force; reset; changes --replay changes.qp",
            shows: "the same change from a file",
        },
        Example {
            line: "use resnet8_int8.onnx; scale fc × 2; changes --out overrides.json --as tensor-quant-overrides --force",
            shows: "a file for `quantize_static` of ONNX Runtime",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Journal<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let mut skipped = Vec::new();
        if let Some(path) = &arguments.replay {
            skipped = replay(path, &arguments, playground, scope)?;
        }
        let name = match &arguments.replay {
            Some(_) => Some(playground.model(arguments.model.as_deref(), &task)?.id.clone()),
            None => arguments.model.clone(),
        };
        let model = playground.changed_model(name.as_deref(), &task)?;
        let float = float_variant(playground, &model);
        let variant = playground.variant(&model.path);
        let changes = variant.map(|variant| variant.changes()).unwrap_or_default();
        let mut out = None;
        if let Some(path) = &arguments.out {
            let float = float.as_ref().map(|float| float.info());
            let written = text(arguments.form, model.info(), &model.id, float, changes)?;
            let path = playground.path(path);
            file::write(&path, written.as_bytes(), arguments.force)?;
            out = Some(path.display().to_string());
        }
        let rows = changes.iter().enumerate().map(|(index, change)| Row { number: index + 1, change });
        let journal = Journal {
            model: &model.id,
            changes: rows.collect(),
            undone: variant.map_or(0, |variant| variant.steps_ahead()),
            out,
            skipped,
        };
        Ok(report(&journal))
    }
}

fn report(journal: &Journal<'_>) -> Report {
    let mut report = Report::of(journal).toned_line([
        (Tone::Plain, format!("{} of ", counted(journal.changes.len(), "change"))),
        (Tone::Name, journal.model.to_owned()),
        (
            Tone::Plain,
            match journal.undone {
                0 => String::new(),
                count => format!("; {} undone", count),
            },
        ),
    ]);
    if !journal.changes.is_empty() {
        report = report.table(Table::of(&journal.changes));
    }
    for line in &journal.skipped {
        report =
            report.toned_line([(Tone::Warning, format!("skipped, the model has no such layer: {line}"))]);
    }
    if let Some(out) = &journal.out {
        report = report.toned_line([(Tone::Plain, "written to ".to_owned()), (Tone::Name, out.clone())]);
    }
    report
}

/// Makes the changes of a file; returns the lines that fit nothing.
fn replay(
    path: &str,
    arguments: &Arguments,
    playground: &mut Playground,
    scope: &Scope<'_>,
) -> Result<Vec<String>> {
    const MOST_BYTES: u64 = 16 << 20;
    let task = scope.ui.task(scope.cancel);
    let path = playground.path(path);
    let text = crate::regular_file::read_text(&path, MOST_BYTES)?;
    let model = playground.model(arguments.model.as_deref(), &task)?;
    let like = match &arguments.like {
        Some(name) => Some(playground.model(Some(name), &task)?),
        None => None,
    };
    let mut skipped = Vec::new();
    let mut added = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |error: Error| error.with_cause(format!("line {} of `{}`", number + 1, path.display()));
        let from = like.as_ref().map_or(model.info(), |like| like.info());
        match translated(line, from, model.info()).map_err(at)? {
            Some(change) => added.push(Arc::new(Change { line: change.to_string(), ..Change::default() })),
            None => skipped.push(line.to_owned()),
        }
    }
    let before =
        playground.variant(&model.path).map(|variant| variant.changes().to_vec()).unwrap_or_default();
    let prepared: Prepared = again(playground, &model, &[before, added].concat(), &task)?;
    prepared.keep(playground);
    Ok(skipped)
}
