//! `history`: the lines typed so far.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;

/// `history [COUNT]`
pub(super) struct History;

/// The arguments of `history`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How many of the last lines
    #[arg(value_name = "COUNT", default_value_t = 30)]
    count: usize,
}

struct Typed<'a> {
    lines: &'a [String],
}

impl Record for Typed<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::field("lines", Unit::Text, "The lines, the last one at the end", |typed| {
            typed.lines.to_vec()
        })]
    }
}

impl Command for History {
    type Arguments = Arguments;
    const NAME: &'static str = "history";
    const SUMMARY: &'static str = "Show the last lines typed, including earlier sessions";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[Example { line: "history 5", shows: "the last five lines" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Typed<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let skipped = playground.history.len().saturating_sub(arguments.count);
        let lines = &playground.history[skipped..];
        let report = Report::of(&Typed { lines });
        Ok(lines.iter().enumerate().fold(report, |report, (index, line)| {
            report.toned_line([
                (Tone::Dim, format!("{:5}  ", skipped + index + 1)),
                (Tone::Plain, line.clone()),
            ])
        }))
    }
}
