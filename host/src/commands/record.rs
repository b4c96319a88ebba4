//! `record`: the session so far, as a script.

use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::file;
use crate::playground::Playground;
use crate::render::record::{Field, Record as Declared, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;
use crate::render::text::counted;
use std::path::Path;

/// Commands that are about the session, not about models.
const LEFT_OUT: [&str; 8] = ["clear", "help", "history", "pwd", "quit", "record", "timing", "watch"];

/// `record FILE`
pub(super) struct Record;

/// The arguments of `record`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The script to write, usually `.qp`
    #[arg(value_name = "PATH")]
    script: String,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

struct Recorded {
    path: String,
    commands: usize,
}

impl Declared for Recorded {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("path", Unit::Name, "The script", |recorded| recorded.path.clone()),
            Self::field("commands", Unit::Count, "Commands in it", |recorded| recorded.commands),
        ]
    }
}

impl Command for Record {
    type Arguments = Arguments;
    const NAME: &'static str = "record";
    const SUMMARY: &'static str = "Write the commands of this session that succeeded as a script";
    const GROUP: Group = Group::Script;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "use resnet8.onnx; layers; record --force session.qp",
        shows: "a script that repeats the session",
    }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Recorded>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let lines: Vec<&str> = playground
            .done
            .iter()
            .filter(|(command, _)| !LEFT_OUT.contains(command))
            .map(|(_, line)| line.as_str())
            .collect();
        if lines.is_empty() {
            return Err(Error::state("no command has succeeded yet"));
        }
        let path = playground.path(&arguments.script);
        let text = format!("# Written by `record`; paths are relative to this file.\n{}\n", lines.join("\n"));
        file::write(&path, text.as_bytes(), arguments.force)?;
        let recorded = Recorded { path: path.display().to_string(), commands: lines.len() };
        let mut report = Report::of(&recorded).preparation(true).toned_line([
            (Tone::Plain, format!("{} written to ", counted(recorded.commands, "command"))),
            (Tone::Name, recorded.path.clone()),
        ]);
        let folder = path.parent().unwrap_or(Path::new(""));
        if folder != playground.base.as_path() {
            report = report.toned_line([(
                Tone::Warning,
                "paths in it are relative to its own folder: change any that you typed relative to this one"
                    .to_owned(),
            )]);
        }
        Ok(report)
    }
}
