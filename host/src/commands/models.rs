//! `models`: the catalog.

use super::listing::Listed;
use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::report::{Cell, Column, Report, Table};
use crate::render::style::Tone;

/// `models`
pub(super) struct Models;

/// The arguments of `models`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

impl Command for Models {
    type Arguments = Arguments;
    const NAME: &'static str = "models";
    const ALIASES: &'static [&'static str] = &["ls"];
    const SUMMARY: &'static str = "List what `open` found, by family";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "open .; models", shows: "the catalog; * is the current model" }];

    fn run(_: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        if playground.catalog.is_none() {
            return Err(
                Error::state("nothing is open").with_hint("Open a folder of models first: `open PATH`.")
            );
        }
        let models = Listed::all(playground);
        Ok(Report::new(&serde_json::json!({ "models": models }))?.table(listing_table(&models)))
    }
}

/// The table of model files; the reason of a failed one stands in place of its precision.
pub(super) fn listing_table(models: &[Listed]) -> Table {
    let mut table = Table::new([
        Column::text("family").rank(3),
        Column::text("model"),
        Column::text("backend").rank(2),
        Column::text("format").rank(4),
        Column::text("precision"),
        Column::number("size").rank(1),
        Column::text("state"),
    ]);
    let mut family = "";
    for model in models {
        let family_cell = Cell {
            text: if family == model.family { String::new() } else { model.family.clone() },
            raw: model.family.clone().into(),
            tone: Tone::Heading,
        };
        family = &model.family;
        let or_missing = |text: &str| if text.is_empty() { Cell::missing() } else { Cell::text(text) };
        table.row([
            family_cell,
            model.name_cell(),
            or_missing(&model.backend),
            or_missing(&model.format),
            model.precision_cell(),
            Cell::bytes(model.bytes),
            model.state.cell(),
        ]);
    }
    table
}
