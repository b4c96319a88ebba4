//! `echo`: print text, for scripts.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
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

impl Command for Echo {
    type Arguments = Arguments;
    const NAME: &'static str = "echo";
    const SUMMARY: &'static str = "Print text";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "let n = 5; echo $n models", shows: "`5 models`" }];

    fn run(arguments: Arguments, _: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let text = arguments.words.join(" ");
        Ok(Report::new(&serde_json::json!({ "text": text }))?.line(text))
    }
}
