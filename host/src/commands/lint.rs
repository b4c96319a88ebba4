//! `lint`: what a model's file alone reveals.

use super::{Command, Example, Group, Scope};
use crate::error::{ErrorKind, Result};
use crate::lint::{Level, LintFinding, lint};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit, word};
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;

/// `lint [NAME…]`
pub(super) struct Lint;

/// The arguments of `lint`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Models, families, patterns such as `*.onnx`, or `all`; without any, the current model
    #[arg(value_name = "MODEL")]
    names: Vec<String>,
    /// The least severe level to show: error, warning or note
    #[arg(long, value_name = "LEVEL", default_value = "note", value_parser = level)]
    level: Level,
    /// One row per finding, instead of one per kind
    #[arg(long)]
    all: bool,
}

/// Reads a level.
fn level(text: &str) -> Result<Level, String> {
    Level::of_word(text).ok_or_else(|| format!("it takes {}", Level::WORDS.join(", ")))
}

struct LintReport {
    errors: usize,
    warnings: usize,
    notes: usize,
    models: Vec<Linted>,
}

/// One model, and what was found in it.
struct Linted {
    model: String,
    errors: usize,
    warnings: usize,
    notes: usize,
    findings: Vec<LintFinding>,
}

/// A row of the table: findings of one kind in one model.
struct FindingGroup<'a> {
    /// `None` if there is only one model.
    model: Option<&'a str>,
    findings: &'a [LintFinding],
}

impl Record for LintReport {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("errors", Unit::Count, "Errors in all models", |report| report.errors),
            Self::field("warnings", Unit::Count, "Warnings in all models", |report| report.warnings),
            Self::field("notes", Unit::Count, "Notes in all models", |report| report.notes),
            Self::list("models", "The models", |report| &report.models),
        ]
    }
}

impl Record for Linted {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |linted| linted.model.clone()),
            Self::field("errors", Unit::Count, "Errors in it", |linted| linted.errors),
            Self::field("warnings", Unit::Count, "Warnings in it", |linted| linted.warnings),
            Self::field("notes", Unit::Count, "Notes in it", |linted| linted.notes),
            Self::list("findings", "What was found, the most severe first", |linted| &linted.findings),
        ]
    }
}

impl Record for LintFinding {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("code", Unit::Text, "Kind of finding, for machines", |finding| {
                finding.rule.code().to_owned()
            }),
            Self::field(
                "level",
                Unit::Text,
                "error: results are wrong whatever runs the model; warning: probably a mistake, or a loss of accuracy; note: often on purpose",
                |finding| word(finding.rule.level()),
            )
            .choices(Level::WORDS),
            Self::field("layer", Unit::Name, "The layer; null for the model as a whole", |finding| {
                finding.layer.clone()
            }),
            Self::field("op_type", Unit::Text, "Its operator or class", |finding| finding.op_type.clone()),
            Self::field("tensor", Unit::Name, "The stored tensor or value; null for the layer as a whole", |finding| {
                finding.tensor.clone()
            }),
            Self::field("text", Unit::Text, "What was found", |finding| finding.text.clone()),
            Self::field("count", Unit::Count, "Channels or blocks concerned; 1 for all of it", |finding| {
                finding.count
            }),
            Self::field("value", Unit::Real, "The scale, ratio, share or bound in question", |finding| {
                finding.value
            }),
            Self::field("next_step", Unit::Text, "What to do about it", |finding| finding.rule.next_step()),
        ]
    }
}

impl FindingGroup<'_> {
    fn first(&self) -> &LintFinding {
        &self.findings[0]
    }

    fn tone(&self) -> Tone {
        tone(self.first().rule.level())
    }

    fn places(&self) -> String {
        let first = self.first().place();
        match self.findings.len() - 1 {
            0 => first.to_owned(),
            more => format!("{first} and {more} more"),
        }
    }
}

impl Record for FindingGroup<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |group| group.model)
                .title("model")
                .hidden_if_missing(),
            Self::field("level", Unit::Text, "error, warning or note", |group| {
                word(group.first().rule.level())
            })
            .title("level")
            .tone(Self::tone),
            Self::field("code", Unit::Text, "Kind of finding", |group| group.first().rule.code().to_owned())
                .title("code"),
            Self::field("findings", Unit::Count, "Findings of this kind", |group| group.findings.len())
                .title("count")
                .rank(3),
            Self::field("places", Unit::Text, "Tensors or layers, the first ones by name", Self::places)
                .title("where"),
            Self::field("text", Unit::Text, "What was found, with the numbers of the first", |group| {
                group.first().text.clone()
            })
            .title("what"),
        ]
    }
}

impl Command for Lint {
    type Arguments = Arguments;
    const NAME: &'static str = "lint";
    const SUMMARY: &'static str = "Find what looks wrong in a model's file, without running it";
    const GROUP: Group = Group::Inspect;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "lint resnet8_int8.onnx", shows: "what its codes, scales and graph reveal" },
        Example { line: "open .; lint all --level warning", shows: "errors and warnings of every model" },
        Example { line: "lint resnet8_uint8.onnx; assert lint.errors == 0", shows: "the same as a check" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<LintReport>(1).draws::<FindingGroup<'_>>("findings", "The findings, by kind")]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let names: Vec<Option<String>> = match &arguments.names[..] {
            [] => vec![None],
            names => playground.find_each(names)?.into_iter().map(|target| Some(target.id)).collect(),
        };
        let (mut models, mut stop) = (Vec::new(), None);
        for name in names {
            let task = scope.ui.task(scope.cancel);
            let found = playground
                .model(name.as_deref(), &task)
                .and_then(|model| Ok((model.id.clone(), lint(&model, &task)?)));
            match found {
                Ok((model, mut findings)) => {
                    findings.retain(|finding| finding.rule.level() <= arguments.level);
                    models.push(Linted::new(model, findings));
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => {
                    stop = Some(error);
                    break;
                }
                // The other models still get their rows; a file that cannot be read comes first.
                Err(error) => stop = stop.or(Some(error)),
            }
        }
        if let Some(error) = stop.as_ref().filter(|_| models.is_empty()) {
            return Err(error.clone());
        }
        let of = |count: fn(&Linted) -> usize| models.iter().map(count).sum();
        let found = LintReport {
            errors: of(|linted| linted.errors),
            warnings: of(|linted| linted.warnings),
            notes: of(|linted| linted.notes),
            models,
        };
        let report = lay_out(&found, arguments.all);
        Ok(match stop {
            Some(error) => report.effect(Effect::Fail(error)),
            None => report,
        })
    }
}

impl Linted {
    fn new(model: String, findings: Vec<LintFinding>) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.rule.level() == level).count();
        Self {
            model,
            errors: count(Level::Error),
            warnings: count(Level::Warning),
            notes: count(Level::Note),
            findings,
        }
    }
}

fn tone(level: Level) -> Tone {
    match level {
        Level::Error => Tone::Bad,
        Level::Warning => Tone::Warning,
        Level::Note => Tone::Plain,
    }
}

fn lay_out(found: &LintReport, shows_all: bool) -> Report {
    let groups: Vec<FindingGroup<'_>> = found
        .models
        .iter()
        .flat_map(|linted| {
            let same = |left: &LintFinding, right: &LintFinding| !shows_all && left.rule == right.rule;
            linted.findings.chunk_by(same).map(|findings| FindingGroup {
                model: (found.models.len() > 1).then_some(&linted.model),
                findings,
            })
        })
        .collect();
    let counts = [
        (found.errors, "error", Tone::Bad),
        (found.warnings, "warning", Tone::Warning),
        (found.notes, "note", Tone::Plain),
    ];
    let mut line = vec![(
        Tone::Plain,
        match &found.models[..] {
            [only] => only.model.clone(),
            models => counted(models.len(), "model"),
        },
    )];
    line.push((Tone::Plain, ": ".to_owned()));
    if groups.is_empty() {
        line.push((Tone::Good, "nothing found".to_owned()));
    }
    let mut is_first = true;
    for (count, name, tone) in counts.into_iter().filter(|(count, ..)| *count > 0) {
        line.push((tone, format!("{}{}", if is_first { "" } else { ", " }, counted(count, name))));
        is_first = false;
    }
    let mut report = Report::of(found).toned_line(line);
    if groups.is_empty() {
        return report;
    }
    report = report.table(Table::of(&groups));
    let mut explained: Vec<&str> = Vec::new();
    for rule in groups.iter().map(|group| &group.first().rule) {
        if !explained.contains(&rule.code()) {
            explained.push(rule.code());
            report = report.toned_line([
                (tone(rule.level()), format!("{}: ", rule.code())),
                (Tone::Dim, rule.next_step().to_owned()),
            ]);
        }
    }
    report
}
