//! `expect-error`: run a command that must fail.

use super::{Command, Example, Group, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::playground::Playground;
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report};

/// `expect-error KIND COMMAND`
pub(super) struct ExpectError;

/// The arguments of `expect-error`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The kind of error that the command must fail with, as JSON names it, and the command
    #[arg(value_name = "KIND COMMAND")]
    text: String,
}

impl Command for ExpectError {
    type Arguments = Arguments;
    const NAME: &'static str = "expect-error";
    const SUMMARY: &'static str = "Fail unless a command fails with an error of this kind";
    const GROUP: Group = Group::Script;
    const TAKES_TEXT: bool = true;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "expect-error NotFound load missing.onnx", shows: "that it fails as expected" }];

    fn reports() -> Vec<ReportShape> {
        Vec::new()
    }

    fn run(arguments: Arguments, _: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let (name, line) = arguments.text.split_once(char::is_whitespace).unwrap_or((&arguments.text, ""));
        let kind = ErrorKind::named(name)?;
        if line.trim().is_empty() {
            return Err(Error::usage("no command after the kind of error")
                .with_hint("Add one, as in `expect-error NotFound load missing.onnx`."));
        }
        Ok(Report::default().effect(Effect::ExpectError { kind, line: line.trim().to_owned() }))
    }
}
