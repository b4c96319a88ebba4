//! `data`: name samples, with their labels and their preparation.

use super::arguments::number::integer_in;
use super::arguments::pictures::Pictures;
use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::input::{Dataset, Recipe};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit, labelled};
use crate::render::report::{Report, Table};
use std::sync::Arc;

/// Classes that are printed.
const SHOWN_CLASSES: usize = 20;

/// `data [NAME [= SOURCE]]`
pub(super) struct Data;

/// The arguments of `data`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// NAME = SOURCE; NAME alone to show one, nothing to list all. A source is FILE.npz, FILE.npy, a folder of pictures or of one subfolder for each class, a list of paths and labels (.txt, .csv, .tsv), batches of CIFAR-10 (.bin), images of MNIST (*-images-idx3-ubyte), or a TOML file that describes one; `[0:8]` after it chooses samples
    #[arg(value_name = "DATA")]
    words: Vec<String>,
    /// The labels, as in digits.npz:labels, labels.txt or labels.csv:class
    #[arg(long, value_name = "PATH")]
    labels: Option<String>,
    /// A text file with one class name per line; the first is class 0
    #[arg(long, value_name = "PATH")]
    classes: Option<String>,
    #[command(flatten)]
    pictures: Pictures,
    /// Only samples A up to, not including, B, as in 0:1000
    #[arg(long, value_name = "A:B")]
    split: Option<String>,
    /// Only so many samples: the first ones, or with `--seed` random ones
    #[arg(long, value_name = "COUNT", value_parser = integer_in::<u64>(1..))]
    samples: Option<u64>,
    /// Seed for choosing random samples: the same number, the same samples
    #[arg(long, value_name = "NUMBER", requires = "samples")]
    seed: Option<u64>,
}

struct Listed {
    data: Vec<Row>,
}

/// One data set.
struct Row {
    name: String,
    dataset: Arc<Dataset>,
    /// Samples of each class.
    classes: Vec<Class>,
}

struct Class {
    class: i64,
    name: Option<String>,
    samples: u64,
}

impl Row {
    fn new(name: &str, dataset: &Arc<Dataset>) -> Self {
        let mut counts = std::collections::BTreeMap::new();
        for label in dataset.labels.iter().flatten() {
            *counts.entry(*label).or_insert(0) += 1;
        }
        for label in 0..dataset.classes.len() as i64 {
            counts.entry(label).or_insert(0);
        }
        let class = |(class, samples)| Class {
            class,
            name: usize::try_from(class).ok().and_then(|class| dataset.classes.get(class).cloned()),
            samples,
        };
        Self {
            name: name.to_owned(),
            dataset: Arc::clone(dataset),
            classes: counts.into_iter().map(class).collect(),
        }
    }
}

impl Record for Listed {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::list("data", "The data sets, by name", |listed| &listed.data)]
    }
}

impl Record for Row {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the data set", |row| row.name.clone()).title("data"),
            Self::field("source", Unit::Text, "Where the samples come from", |row| {
                row.dataset.source.clone()
            })
            .title("source"),
            Self::field("form", Unit::Text, "What the source is, such as class folders", |row| {
                row.dataset.form
            })
            .title("form")
            .rank(2),
            Self::field("samples", Unit::Count, "How many samples there are", |row| row.dataset.samples)
                .title("samples"),
            Self::field("has_labels", Unit::Flag, "Whether they have labels", |row| {
                row.dataset.labels.is_some()
            })
            .title("labels")
            .text(|row| if row.dataset.labels.is_some() { "yes" } else { "no" }.to_owned())
            .rank(1),
            Self::list("classes", "The labels, and the classes that are named", |row| &row.classes),
            Self::field(
                "class_count",
                Unit::Count,
                "How many classes there are; null without labels",
                |row| (!row.classes.is_empty()).then_some(row.classes.len() as u64),
            )
            .title("classes")
            .rank(1)
            .hidden_if_missing(),
            Self::field(
                "preparation",
                Unit::Text,
                "How pictures become tensors; empty if nothing was chosen",
                |row| row.dataset.preparation.clone(),
            )
            .title("preparation")
            .shown_if(|row| !row.dataset.preparation.is_empty())
            .rank(3),
        ]
    }
}

impl Record for Class {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("class", Unit::Index, "The label", |class| class.class).title("class"),
            Self::field("name", Unit::Name, "Its name, if known", |class| class.name.clone())
                .title("name")
                .hidden_if_missing()
                .omitted_if_missing(),
            Self::field("samples", Unit::Count, "Samples with this label", |class| class.samples)
                .title("samples"),
        ]
    }
}

impl Command for Data {
    type Arguments = Arguments;
    const NAME: &'static str = "data";
    const SUMMARY: &'static str = "Name samples with their labels and preparation, for `--data` and `input`";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "data digits = digits.npz --samples 100 --seed 1; evaluate resnet8.onnx --data digits",
            shows: "a hundred random digits, the same ones in every command",
        },
        Example {
            line: "data digits = digits.npz --split 0:64; input digits[0:8]",
            shows: "some of its samples as the input",
        },
        Example { line: "data", shows: "all data sets" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![
            ReportShape::of::<Listed>(1).when("without a name"),
            ReportShape::of::<Row>(1).when("with a name"),
        ]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let text = arguments.words.join(" ");
        let Some((name, source)) = text.split_once('=') else {
            if arguments.recipe(String::new())? != Recipe::default() {
                return Err(
                    Error::usage("options need a source").with_hint("Write `data NAME = SOURCE OPTIONS`.")
                );
            }
            return shown(text.trim(), playground);
        };
        let name = checked_name(name.trim())?;
        let recipe = arguments.recipe(source.trim().to_owned())?;
        if recipe.source.is_empty() {
            return Err(
                Error::usage(format!("`{name}` has no source")).with_hint("Write `data NAME = SOURCE`.")
            );
        }
        let dataset = Arc::new(recipe.open(&|text| playground.path(text))?);
        let report = lay_out(&Row::new(name, &dataset)).preparation(true);
        playground.datasets.insert(name.to_owned(), dataset);
        Ok(report)
    }
}

impl Arguments {
    fn recipe(&self, source: String) -> Result<Recipe> {
        Ok(Recipe {
            source,
            labels: self.labels.clone(),
            classes: self.classes.clone(),
            options: self.pictures.options()?,
            split: self.split.clone(),
            samples: self.samples,
            seed: self.seed,
        })
    }
}

/// Refuses a name that could be a path: no separators, no dots.
fn checked_name(name: &str) -> Result<&str> {
    let is_allowed = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    let is_reserved = matches!(name, "random" | "zeros" | "ones");
    if name.is_empty() || name.starts_with('-') || is_reserved || !name.chars().all(is_allowed) {
        return Err(Error::usage(format!("`{name}` is not a valid name for a data set"))
            .with_hint("Use letters, digits, `_` and `-`, as in `data digits = digits.npz`."));
    }
    Ok(name)
}

/// All data sets, or the one with that name.
fn shown(name: &str, playground: &Playground) -> Result<Report> {
    if name.is_empty() {
        let rows = playground.datasets.iter().map(|(name, dataset)| Row::new(name, dataset));
        let listed = Listed { data: rows.collect() };
        let report = Report::of(&listed);
        return Ok(match listed.data.is_empty() {
            true => report.line("no data sets; name one with `data NAME = SOURCE`"),
            false => report.table(Table::of(&listed.data)),
        });
    }
    let dataset = playground.datasets.get(name).ok_or_else(|| {
        let known = playground.datasets.keys().map(String::as_str);
        Error::not_found(format!("no data set `{name}`"))
            .with_nearest(name, known, || format!("Name one with `data {name} = SOURCE`."))
    })?;
    Ok(lay_out(&Row::new(name, dataset)))
}

fn lay_out(row: &Row) -> Report {
    let report = Report::of(row).fields(labelled(row));
    if row.classes.is_empty() {
        return report;
    }
    let report = report.table(Table::of(row.classes.iter().take(SHOWN_CLASSES)));
    match row.classes.len().saturating_sub(SHOWN_CLASSES) {
        0 => report,
        more => report.line(format!("and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::checked_name;

    #[test]
    fn a_name_is_never_a_path_or_made_up_values() {
        assert!(["digits", "val-1", "größe"].iter().all(|name| checked_name(name).is_ok()));
        assert!(["", "a.npz", "a/b", "-x", "random", "a b"].iter().all(|name| checked_name(name).is_err()));
    }
}
