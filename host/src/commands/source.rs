//! `source`: run a script in this session.

use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::record::ReportShape;
use crate::render::report::{Effect, Report};

/// `source FILE`
pub(super) struct Source;

/// The arguments of `source`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The script; paths in it are relative to its own folder
    #[arg(value_name = "PATH")]
    file: String,
}

impl Command for Source {
    type Arguments = Arguments;
    const NAME: &'static str = "source";
    const SUMMARY: &'static str = "Run a script in this session";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "source demo.qp", shows: "each command of the script" }];

    fn reports() -> Vec<ReportShape> {
        Vec::new()
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let path = playground.path(&arguments.file);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Report::default().effect(Effect::Source(path))),
            Ok(_) => Err(Error::invalid_input(format!("`{}` is not a file", path.display()))),
            Err(error) => Err(Error::io("read", &path, &error)),
        }
    }
}
