//! `quit`: end the session.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report};

/// `quit`
pub(super) struct Quit;

/// The arguments of `quit`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

impl Command for Quit {
    type Arguments = Arguments;
    const NAME: &'static str = "quit";
    const ALIASES: &'static [&'static str] = &["exit", "q"];
    const SUMMARY: &'static str = "End the session";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[Example { line: "quit", shows: "good bye" }];

    fn reports() -> Vec<ReportShape> {
        Vec::new()
    }

    fn run(_: Arguments, _: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        Ok(Report::default().effect(Effect::Quit))
    }
}
