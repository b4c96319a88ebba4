//! `format`: choose how results are printed.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;

/// `format [FORMAT]`
pub(super) struct Format;

/// The arguments of `format`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How to print results from now on; without it, show the current format
    #[arg(value_enum, value_name = "FORMAT")]
    format: Option<render::Format>,
}

struct InForce {
    format: render::Format,
}

impl Record for InForce {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("format", Unit::Text, "How results are printed", |in_force| in_force.format.name())
                .choices(&["table", "json", "csv", "markdown"]),
        ]
    }
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

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<InForce>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let is_set = arguments.format.is_some();
        if let Some(format) = arguments.format {
            playground.settings.format = format;
        }
        let in_force = InForce { format: playground.settings.format };
        let name = in_force.format.name();
        Ok(Report::of(&in_force).line(format!("results are printed as {name}")).preparation(is_set))
    }
}
