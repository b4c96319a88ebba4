//! `try`: what a change does to the last comparison or evaluation.

use super::{Command, Example, Group, Prepared, Scope};
use crate::baseline::{Change as Moved, Tolerance, changes, of_results};
use crate::editing::{Change, prepare};
use crate::error::{Error, Result};
use crate::language::{Line, Variables, parse, quoted};
use crate::playground::Playground;
use crate::render::number;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use serde_json::Value;

/// `try CHANGE`
pub(super) struct Try;

/// The arguments of `try`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The change: `scale LAYER × FACTOR`, `set LAYER.PROPERTY VALUE`, or only `LAYER.PROPERTY VALUE`
    #[arg(value_name = "CHANGE", required = true, num_args = 1.., allow_negative_numbers = true)]
    change: Vec<String>,
    /// Show every number that moved
    #[arg(long)]
    all: bool,
    /// Keep the change if it helps: if the first number gets better
    #[arg(long)]
    keep: bool,
    /// The model; without it, the current one
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

struct Trial {
    model: String,
    change: String,
    effect: String,
    command: String,
    rows: Vec<Row>,
    is_kept: bool,
}

struct Row {
    key: String,
    before: f64,
    after: f64,
}

impl Record for Trial {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("model", Unit::Name, "The model", |trial| trial.model.clone()),
            Self::field("change", Unit::Text, "The change", |trial| trial.change.clone()),
            Self::field("effect", Unit::Text, "What it does", |trial| trial.effect.clone()),
            Self::field("command", Unit::Text, "The command that was run without and with it", |trial| {
                trial.command.clone()
            }),
            Self::list("values", "The numbers of its result that moved", |trial| &trial.rows),
            Self::field("is_kept", Unit::Flag, "Whether the change was made for good", |trial| trial.is_kept),
        ]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("key", Unit::Name, "The number, by its key in the command's JSON", |row| {
                row.key.clone()
            })
            .title("value"),
            Self::field("before", Unit::Real, "Without the change", |row| row.before).title("before"),
            Self::field("after", Unit::Real, "With it", |row| row.after).title("after"),
            Self::field("difference", Unit::Real, "After minus before", |row| row.after - row.before)
                .title("difference")
                .text(|row| {
                    let difference = row.after - row.before;
                    let sign = if difference > 0.0 { "+" } else { "" };
                    format!("{sign}{}", number::real(difference))
                })
                .tone(|row| match is_better(row) {
                    Some(true) => Tone::Good,
                    Some(false) => Tone::Bad,
                    None => Tone::Plain,
                }),
        ]
    }
}

/// Whether a number got better, if it says so by its name.
fn is_better(row: &Row) -> Option<bool> {
    let rises = ["sqnr_db", "accuracy", "same_share", "cosine_similarity", "psnr_db"];
    let falls = ["kl_mean", "changed", "mse", "accuracy_drop_pp"];
    let ends = |names: &[&str]| names.iter().any(|name| row.key.ends_with(name));
    match row.after.total_cmp(&row.before) {
        std::cmp::Ordering::Equal => None,
        order if ends(&rises) => Some(order.is_gt()),
        order if ends(&falls) => Some(order.is_lt()),
        _ => None,
    }
}

/// The numbers that are shown first, in this order.
const MAIN: [&str; 7] = [
    "accuracy",
    "agreement.sqnr_db",
    "agreement.kl_mean",
    "agreement.same_share",
    "min_sqnr_db",
    ".sqnr_db",
    "local.sqnr_db",
];

impl Command for Try {
    type Arguments = Arguments;
    const NAME: &'static str = "try";
    const SUMMARY: &'static str = "Run the last compare or evaluate without and with a change";
    const GROUP: Group = Group::Change;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "input digits.npz:images[0:32]; compare resnet8.onnx resnet8_int8.onnx; use resnet8_int8.onnx; try scale layer1.conv1 × 2",
            shows: "which layers a coarser weight harms",
        },
        Example {
            line: "evaluate resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 64; use resnet8_int8.onnx; try set fc.quantized off --keep",
            shows: "what the last layer in float gains",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Trial>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let change = change_of(&arguments.change)?;
        let (command, line) = playground.last_comparison.clone().ok_or_else(|| {
            Error::state("there is no result to compare with").with_hint(
                "Run `compare` or `evaluate` first; `try` runs it again without and with the change.",
            )
        })?;
        let task = scope.ui.task(scope.cancel);
        let model = playground.newest_form(arguments.model.as_deref(), &task)?;
        let before_line = with_model(&line, &model.id, playground)?;
        let prepared = prepare(playground, &model, &change, &task)?;
        let after_line = with_model(&line, &prepared.model().id, playground)?;
        let planned = prepared.change().cloned();
        drop(task);
        let before = run(&before_line, playground, scope)?;
        let changed = prepared.model().id.clone();
        let (after, prepared) = prepared.lend(playground, |playground| run(&after_line, playground, scope));
        let after = after?;
        let rows = rows(command, [&before, &after], [&model.id, &changed], arguments.all);
        let mut trial = Trial {
            model: model.id.clone(),
            change: planned.as_ref().map_or_else(|| change.to_string(), |planned| planned.line.clone()),
            effect: planned.as_ref().map(|planned| planned.effect.clone()).unwrap_or_default(),
            command: before_line,
            rows,
            is_kept: false,
        };
        if arguments.keep && trial.rows.iter().find_map(is_better) == Some(true) {
            trial.model = prepared.keep(playground).id.clone();
            trial.is_kept = true;
        }
        Ok(report(&trial, arguments.keep))
    }
}

fn change_of(words: &[String]) -> Result<Change> {
    match words {
        [first, target, rest @ ..] if first == "scale" => Change::scale(target, rest),
        [first, path, value] if first == "set" => Change::set(path, value),
        [path, value] => Change::set(path, value),
        _ => Err(Error::usage("`try` takes a change")
            .with_hint("As in `try scale conv1 × 2` or `try set conv1.quantized off`.")),
    }
}

/// A line with another form of a model: the words that name it, its file's form or a changed one, name this one.
fn with_model(line: &str, id: &str, playground: &Playground) -> Result<String> {
    let plain = id.trim_end_matches('*');
    let words = words(line)?;
    let is_it =
        |word: &str| playground.find_one(word).is_ok_and(|target| target.id.trim_end_matches('*') == plain);
    let changed: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(place, word)| if place > 0 && is_it(word) { quoted(id) } else { quoted(word) })
        .collect();
    let names_it = words.iter().skip(1).any(|word| is_it(word));
    if !names_it {
        return Err(Error::state(format!(
            "the last `{}` is not about `{id}`",
            words.first().map_or("", String::as_str)
        ))
        .with_hint(format!("It was `{line}`. Name the model that it compared: `try CHANGE --model NAME`.")));
    }
    Ok(changed.join(" "))
}

fn words(line: &str) -> Result<Vec<String>> {
    let unclear = || Error::internal(format!("`{line}` cannot be run again"));
    let statements = parse(line).map_err(|_| unclear())?;
    let statement = statements.first().ok_or_else(unclear)?;
    Ok(Line::new(line, statement, &Variables::default())?.words().map(str::to_owned).collect())
}

fn run(line: &str, playground: &mut Playground, scope: &Scope<'_>) -> Result<Value> {
    let statements = parse(line).map_err(|_| Error::internal(format!("`{line}` cannot be run again")))?;
    let statement = statements.first().ok_or_else(|| Error::internal("an empty line was run"))?;
    let prepared = Prepared::new(&Line::new(line, statement, &Variables::default())?)?;
    Ok(prepared.run(playground, scope)?.into_value())
}

/// The numbers that moved, the main ones first.
fn rows(command: &'static str, results: [&Value; 2], names: [&str; 2], shows_all: bool) -> Vec<Row> {
    let Some(entry) = super::find(command) else { return Vec::new() };
    // A row under another name would be another row.
    let [before, after] = [0, 1].map(|index| {
        let value = renamed(results[index], names[index], names[0]);
        of_results(std::iter::once((command, &value, (entry.reports)())))
    });
    let is_number = |moved: &Moved| Some((moved.before.as_ref()?.number()?, moved.now.as_ref()?.number()?));
    let mut rows: Vec<(usize, Row)> = changes(&before, &after, &|_| Tolerance::default())
        .iter()
        .filter_map(|moved| {
            let (before, after) = is_number(moved)?;
            let is_local = moved.key.contains("local.") && !moved.key.ends_with("local.sqnr_db");
            let place = MAIN.iter().rposition(|main| moved.key.ends_with(main)).filter(|_| !is_local);
            let place = place.unwrap_or(MAIN.len());
            let key =
                moved.key.strip_prefix(command).unwrap_or(&moved.key).trim_start_matches('.').to_owned();
            Some((place, Row { key, before, after }))
        })
        .filter(|(place, _)| shows_all || *place < MAIN.len())
        .collect();
    rows.sort_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// A value with one text in place of another.
fn renamed(value: &Value, from: &str, to: &str) -> Value {
    match value {
        Value::String(text) if text == from => Value::String(to.to_owned()),
        Value::Array(items) => items.iter().map(|item| renamed(item, from, to)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, item)| (key.clone(), renamed(item, from, to)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn report(trial: &Trial, was_to_be_kept: bool) -> Report {
    let mut report = Report::of(trial)
        .toned_line([(Tone::Name, trial.change.clone()), (Tone::Plain, format!(": {}", trial.effect))])
        .line(format!("measured by: {}", trial.command));
    report = match trial.rows.is_empty() {
        true => report.line("no number of its result moved"),
        false => report.table(Table::of(&trial.rows)),
    };
    let better = trial.rows.iter().filter(|row| is_better(row) == Some(true)).count();
    let worse = trial.rows.iter().filter(|row| is_better(row) == Some(false)).count();
    let verdict = format!("{} better, {worse} worse", counted(better, "number"));
    let end = match (trial.is_kept, was_to_be_kept) {
        (true, _) => format!("; kept in {}", trial.model),
        (false, true) => "; not kept".to_owned(),
        (false, false) => "; the model is as before: `set` or `scale` makes the change".to_owned(),
    };
    report.line(format!("{verdict}{end}"))
}
