//! `echo`: print text, for scripts.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;

/// `echo [TEXT…]`
pub(super) struct Echo;

/// The arguments of `echo`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to print
    #[arg(value_name = "TEXT", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

struct Said {
    text: String,
}

impl Record for Said {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::field("text", Unit::Text, "The text", |said| said.text.clone())]
    }
}

impl Command for Echo {
    type Arguments = Arguments;
    const NAME: &'static str = "echo";
    const SUMMARY: &'static str = "Print text";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "let n = 5; echo $n models", shows: "`5 models`" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Said>(1)]
    }

    fn run(arguments: Arguments, _: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let said = Said { text: arguments.words.join(" ") };
        Ok(Report::of(&said).line(said.text).preparation(true))
    }
}
