//! `use`: choose the model that commands mean when they are given none.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render::report::Report;
use crate::render::style::Tone;

/// `use NAME`
pub(super) struct Use;

/// The arguments of `use`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model
    #[arg(value_name = "MODEL")]
    name: String,
}

impl Command for Use {
    type Arguments = Arguments;
    const NAME: &'static str = "use";
    const SUMMARY: &'static str = "Choose the model that other commands mean";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "use resnet8_int8.onnx", shows: "the prompt names it from now on" }];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(Some(&arguments.name), &task)?;
        playground.choose(Some(model.path.clone()));
        let value = serde_json::json!({ "model": model.id });
        Ok(Report::new(&value)?
            .toned_line([(Tone::Plain, "current model: ".to_owned()), (Tone::Name, model.id.clone())]))
    }
}
