//! `undo`, `redo` and `reset`: take changes back.

use super::arguments::number::integer_in;
use super::{Command, Example, Group, Scope};
use crate::editing::{again, step};
use crate::error::{Error, Result};
use crate::playground::{Playground, Step};
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;
use crate::render::text::counted;
use std::sync::Arc;

/// `undo`
pub(super) struct Undo;

/// `redo`
pub(super) struct Redo;

/// `reset [LAYER]`
pub(super) struct Reset;

/// The arguments of `undo` and `redo`.
#[derive(Debug, clap::Args)]
pub(super) struct StepArguments {
    /// How many changes, from 1 on
    #[arg(value_name = "COUNT", default_value_t = 1, value_parser = integer_in::<u32>(1..))]
    count: u32,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

/// The arguments of `reset`.
#[derive(Debug, clap::Args)]
pub(super) struct ResetArguments {
    /// Only the changes of this layer; without it, all
    #[arg(value_name = "LAYER")]
    layer: Option<String>,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

struct State<'a> {
    model: &'a str,
    changes: usize,
    taken_back: Vec<String>,
    made_again: Vec<String>,
}

impl Record for State<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The changed model", |state| state.model),
            Self::field("changes", Unit::Count, "The changes that are left", |state| state.changes),
            Self::field("taken_back", Unit::Text, "The changes that were taken back", |state| {
                state.taken_back.clone()
            }),
            Self::field("made_again", Unit::Text, "The changes that were made again", |state| {
                state.made_again.clone()
            }),
        ]
    }
}

impl Command for Undo {
    type Arguments = StepArguments;
    const NAME: &'static str = "undo";
    const SUMMARY: &'static str = "Take the last change of a model back";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "use resnet8_int8.onnx; scale fc × 2; undo",
        shows: "the model as its file has it",
    }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<State<'_>>(1)]
    }

    fn run(arguments: StepArguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        walk(&arguments, Step::Undo, playground, scope)
    }
}

impl Command for Redo {
    type Arguments = StepArguments;
    const NAME: &'static str = "redo";
    const SUMMARY: &'static str = "Make a change again that was taken back";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "use resnet8_int8.onnx; scale fc × 2; undo; redo",
        shows: "the change once more",
    }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<State<'_>>(1)]
    }

    fn run(arguments: StepArguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        walk(&arguments, Step::Redo, playground, scope)
    }
}

impl Command for Reset {
    type Arguments = ResetArguments;
    const NAME: &'static str = "reset";
    const SUMMARY: &'static str = "Drop the changes of a model, or those of one layer";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "use resnet8_int8.onnx; scale fc × 2; scale stem × 2; reset fc",
        shows: "one change is left; `undo` brings the other back",
    }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<State<'_>>(1)]
    }

    fn run(arguments: ResetArguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.changed_model(arguments.model.as_deref(), &task)?;
        let before = lines(playground, &model.path);
        let changes: Vec<_> =
            playground.variant(&model.path).map(|variant| variant.changes().to_vec()).unwrap_or_default();
        let kept = match &arguments.layer {
            None => Vec::new(),
            Some(text) => {
                let is_of = |subject: &str| {
                    subject == text
                        || subject.ends_with(&format!("/{text}"))
                        || subject.ends_with(&format!(".{text}"))
                };
                let kept: Vec<Arc<_>> =
                    changes.iter().filter(|change| !is_of(&change.subject)).cloned().collect();
                if kept.len() == changes.len() {
                    return Err(Error::not_found(format!("no change of `{}` is about `{text}`", model.id))
                        .with_hint("`changes` lists them."));
                }
                kept
            }
        };
        if changes.is_empty() {
            return Err(Error::state(format!("nothing to reset in `{}`", model.id)));
        }
        let prepared = again(playground, &model, &kept, &task)?;
        let model = prepared.keep(playground);
        Ok(report(&model.id, &before, &lines(playground, &model.path)))
    }
}

fn walk(
    arguments: &StepArguments,
    direction: Step,
    playground: &mut Playground,
    scope: &Scope<'_>,
) -> Result<Report> {
    let task = scope.ui.task(scope.cancel);
    let mut model = playground.changed_model(arguments.model.as_deref(), &task)?;
    let before = lines(playground, &model.path);
    for made in 0..arguments.count {
        model = match step(playground, &model, direction, &task) {
            Ok(model) => model,
            // More than there are.
            Err(_) if made > 0 => break,
            Err(error) => return Err(error),
        };
    }
    Ok(report(&model.id, &before, &lines(playground, &model.path)))
}

fn lines(playground: &Playground, path: &std::path::Path) -> Vec<String> {
    let changes = playground.variant(path).map(|variant| variant.changes()).unwrap_or_default();
    changes.iter().map(|change| change.line.clone()).collect()
}

fn report(model: &str, before: &[String], after: &[String]) -> Report {
    let only = |lines: &[String], others: &[String]| -> Vec<String> {
        let mut others = others.to_vec();
        let mut left = Vec::new();
        for line in lines {
            match others.iter().position(|other| other == line) {
                Some(place) => drop(others.remove(place)),
                None => left.push(line.clone()),
            }
        }
        left
    };
    let state = State {
        model,
        changes: after.len(),
        taken_back: only(before, after),
        made_again: only(after, before),
    };
    let mut report = Report::of(&state);
    for (word, lines) in [("taken back: ", &state.taken_back), ("made again: ", &state.made_again)] {
        for line in lines {
            report = report.line(format!("{word}{line}"));
        }
    }
    let rest = match after.len() {
        0 => " is as its file has it".to_owned(),
        count => format!(" has {}", counted(count, "change")),
    };
    report.toned_line([(Tone::Name, model.to_owned()), (Tone::Plain, rest)]).preparation(true)
}
