//! `models`: the catalog.

use super::fields::listed::Listed;
use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape};
use crate::render::report::{Report, Table};

/// `models`
pub(super) struct Models;

/// The arguments of `models`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

struct Found {
    models: Vec<Listed>,
}

impl Record for Found {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::list("models", "The model files, by family", |found| &found.models)]
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
        let found = Found { models: Listed::all(playground) };
        Ok(Report::of(&found).table(Table::of(&found.models)))
    }
}
