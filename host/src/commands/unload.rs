//! `unload`: drop models.

use super::listing::counted;
use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::{Playground, Target};
use crate::render::report::Report;

/// `unload NAME… | all`
pub(super) struct Unload;

/// The arguments of `unload`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Models, families, patterns, or `all`
    #[arg(value_name = "MODEL", required = true)]
    names: Vec<String>,
}

impl Command for Unload {
    type Arguments = Arguments;
    const NAME: &'static str = "unload";
    const SUMMARY: &'static str = "Drop models and free what they hold";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "open .; load all; unload all", shows: "nothing is loaded" }];

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let mut targets: Vec<Target> = Vec::new();
        for name in &arguments.names {
            targets.extend(playground.find_all(name)?);
        }
        let mut names: Vec<String> = Vec::new();
        for target in targets {
            if playground.unload(&target.path) {
                names.push(target.id);
            }
        }
        let text = format!("{} unloaded", counted(names.len(), "model"));
        Ok(Report::new(&serde_json::json!({ "unloaded": names }))?.line(text))
    }
}
