//! `models`: the catalog.

use super::fields::listed::Listed;
use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;

/// `models`
pub(super) struct Models;

/// The arguments of `models`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

struct Found {
    models: Vec<Listed>,
    changed: Vec<Changed>,
}

/// A model that was changed in memory.
struct Changed {
    name: String,
    base: String,
    changes: usize,
}

impl Record for Changed {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Its name in commands", |changed| changed.name.clone()),
            Self::field("base", Unit::Name, "The file that was changed", |changed| changed.base.clone()),
            Self::field("changes", Unit::Count, "How many changes it has", |changed| changed.changes),
        ]
    }
}

impl Record for Found {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::list("models", "The model files, by family", |found| &found.models),
            Self::list("changed", "Models that were changed in memory", |found| &found.changed),
        ]
    }
}

impl Command for Models {
    type Arguments = Arguments;
    const NAME: &'static str = "models";
    const ALIASES: &'static [&'static str] = &["ls"];
    const SUMMARY: &'static str = "List what `open` found, by family";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "open .; models", shows: "the catalog; * is the current model" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Found>(1)]
    }

    fn run(_: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        if playground.catalog.is_none() {
            return Err(
                Error::state("nothing is open").with_hint("Open a folder of models first: `open PATH`.")
            );
        }
        let changed = playground.variants().filter(|(_, variant)| !variant.changes().is_empty());
        let changed = changed.map(|(model, variant)| Changed {
            name: model.id.clone(),
            base: variant.base().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            changes: variant.changes().len(),
        });
        let found = Found { changed: changed.collect(), models: Listed::all(playground) };
        let mut report = Report::of(&found).table(Table::of(&found.models));
        for changed in &found.changed {
            report = report.toned_line([
                (Tone::Name, changed.name.clone()),
                (
                    Tone::Plain,
                    format!(
                        " is {} with {}, in memory: `export {} FILE` writes it",
                        changed.base,
                        counted(changed.changes, "change"),
                        changed.name
                    ),
                ),
            ]);
        }
        Ok(report)
    }
}
