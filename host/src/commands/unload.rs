//! `unload`: drop loaded models.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::{Playground, Target};
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::text::counted;

/// `unload NAME… | all`
pub(super) struct Unload;

/// The arguments of `unload`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Models, families, patterns, or `all`
    #[arg(value_name = "MODEL", required = true)]
    names: Vec<String>,
}

struct Outcome {
    unloaded: Vec<String>,
}

impl Record for Outcome {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::field("unloaded", Unit::Name, "Models that were unloaded", |outcome| {
            outcome.unloaded.clone()
        })]
    }
}

impl Command for Unload {
    type Arguments = Arguments;
    const NAME: &'static str = "unload";
    const SUMMARY: &'static str = "Unload models and free their memory";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "open .; load all; unload all", shows: "nothing is loaded" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Outcome>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let mut targets: Vec<Target> = Vec::new();
        for name in &arguments.names {
            targets.extend(playground.find_all(name)?);
        }
        let mut outcome = Outcome { unloaded: Vec::new() };
        for target in targets {
            if playground.unload(&target.path) {
                outcome.unloaded.push(target.id);
            }
        }
        let text = format!("{} unloaded", counted(outcome.unloaded.len(), "model"));
        Ok(Report::of(&outcome).line(text).preparation(true))
    }
}
