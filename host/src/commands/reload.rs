//! `reload`: read loaded models again.

use super::load::{Outcome, load_all, report};
use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::playground::{LoadedHow, Playground, Target};
use crate::render::record::ReportShape;
use crate::render::report::Report;

/// `reload [NAME…]`
pub(super) struct Reload;

/// The arguments of `reload`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Models, families or patterns; without any, everything that is loaded
    #[arg(value_name = "MODEL")]
    names: Vec<String>,
}

impl Command for Reload {
    type Arguments = Arguments;
    const NAME: &'static str = "reload";
    const SUMMARY: &'static str = "Read loaded models from their files again";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "load resnet8.onnx; reload",
        shows: "every loaded model, from its files as they are now",
    }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Outcome>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let is_loaded = |target: &Target| playground.is_loaded(&target.path);
        let mut targets: Vec<Target> = Vec::new();
        if arguments.names.is_empty() {
            targets.extend(playground.targets().into_iter().filter(is_loaded));
        }
        for name in &arguments.names {
            targets.extend(playground.find_all(name)?.into_iter().filter(is_loaded));
        }
        if targets.is_empty() {
            return Err(Error::state("none of these models is loaded").with_hint("Load it with `load NAME`."));
        }
        let outcome = load_all(&targets, playground, scope, &|playground, target, scope| {
            let task = scope.ui.task(scope.cancel);
            playground.reload(target, &task).map(|loaded| (loaded, LoadedHow::Read))
        })?;
        Ok(report(&outcome).preparation(true))
    }
}
