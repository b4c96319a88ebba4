//! `use`: choose the model for commands that name none.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
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

struct Chosen<'a> {
    model: &'a str,
}

impl Record for Chosen<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::field("model", Unit::Name, "The current model", |chosen| chosen.model)]
    }
}

impl Command for Use {
    type Arguments = Arguments;
    const NAME: &'static str = "use";
    const SUMMARY: &'static str = "Choose the model that other commands use";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "use resnet8_int8.onnx", shows: "the prompt names it from now on" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Chosen<'_>>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let task = scope.ui.task(scope.cancel);
        let model = playground.model(Some(&arguments.name), &task)?;
        playground.choose(Some(model.path.clone()));
        Ok(Report::of(&Chosen { model: &model.id })
            .preparation(true)
            .toned_line([(Tone::Plain, "current model: ".to_owned()), (Tone::Name, model.id.clone())]))
    }
}
