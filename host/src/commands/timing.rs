//! `timing`: show how long each command takes.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;

/// `timing [on | off]`
pub(super) struct Timing;

/// The arguments of `timing`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Whether to show it from now on; without it, say whether it is shown
    #[arg(value_enum, value_name = "SWITCH")]
    switch: Option<Switch>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

struct State {
    is_on: bool,
}

impl Record for State {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::field("timing", Unit::Flag, "Whether times are shown", |state| state.is_on)]
    }
}

impl Command for Timing {
    type Arguments = Arguments;
    const NAME: &'static str = "timing";
    const SUMMARY: &'static str = "Show how long each command takes";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "timing on; open .", shows: "the time after each result" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<State>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let is_set = arguments.switch.is_some();
        if let Some(switch) = arguments.switch {
            playground.settings.shows_timing = matches!(switch, Switch::On);
        }
        let is_on = playground.settings.shows_timing;
        let text = format!("times are {}", if is_on { "shown" } else { "not shown" });
        Ok(Report::of(&State { is_on }).line(text).preparation(is_set))
    }
}
