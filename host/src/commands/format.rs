//! `format`: choose how results are printed.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render;
use crate::render::report::Report;

/// `format [FORMAT]`
pub(super) struct Format;

/// The arguments of `format`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How to print results from now on; without it, say how they are printed
    #[arg(value_enum, value_name = "FORMAT")]
    format: Option<render::Format>,
}

impl Command for Format {
    type Arguments = Arguments;
    const NAME: &'static str = "format";
    const SUMMARY: &'static str = "Choose how results are printed";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "format csv; open .", shows: "results as comma-separated values" },
        Example { line: "format", shows: "the format in force" },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        if let Some(format) = arguments.format {
            playground.settings.format = format;
        }
        let name = playground.settings.format.name();
        Ok(Report::new(&serde_json::json!({ "format": name }))?
            .line(format!("results are printed as {name}")))
    }
}
