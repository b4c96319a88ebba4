//! `clear`: an empty screen.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::playground::Playground;
use crate::render::record::ReportShape;
use crate::render::report::Report;

/// `clear`
pub(super) struct Clear;

/// It has none.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

impl Command for Clear {
    type Arguments = Arguments;
    const NAME: &'static str = "clear";
    const SUMMARY: &'static str = "Clear the screen, as Ctrl-L does";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[Example { line: "clear", shows: "an empty screen" }];

    fn reports() -> Vec<ReportShape> {
        Vec::new()
    }

    fn run(_: Arguments, _: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        scope.ui.clear_screen();
        Ok(Report::default())
    }
}
