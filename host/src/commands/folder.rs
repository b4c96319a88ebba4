//! `cd`, `pwd`: the folder where relative paths start.

use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use std::path::PathBuf;

/// `cd [FOLDER]`
pub(super) struct Cd;
/// `pwd`
pub(super) struct Pwd;

/// The arguments of `cd`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder; without it, your home folder
    #[arg(value_name = "PATH")]
    folder: Option<String>,
}

/// `pwd` has none.
#[derive(Debug, clap::Args)]
pub(super) struct NoArguments {}

struct Here {
    path: String,
}

impl Record for Here {
    fn fields() -> Vec<Field<Self>> {
        vec![Self::field("path", Unit::Name, "The folder where relative paths start", |here| {
            here.path.clone()
        })]
    }
}

fn report(folder: &std::path::Path) -> Report {
    let here = Here { path: folder.display().to_string() };
    Report::of(&here).line(here.path).preparation(true)
}

impl Command for Cd {
    type Arguments = Arguments;
    const NAME: &'static str = "cd";
    const SUMMARY: &'static str = "Change the folder where relative paths start";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] =
        &[Example { line: "cd ..; open models", shows: "the models, seen from the folder above" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Here>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let path = match &arguments.folder {
            Some(folder) if folder == "~" => home()?,
            Some(folder) => playground.path(folder),
            None => home()?,
        };
        let folder = path.canonicalize().map_err(|error| Error::io("open", &path, &error))?;
        if !folder.is_dir() {
            return Err(Error::invalid_input(format!("`{}` is not a folder", path.display())));
        }
        // Models that are open keep their paths, which may be relative to the working folder: that stays.
        playground.base = folder;
        Ok(report(&playground.base))
    }
}

fn home() -> Result<PathBuf> {
    let folders = directories::BaseDirs::new().ok_or_else(|| Error::not_found("no home folder is known"))?;
    Ok(folders.home_dir().to_owned())
}

impl Command for Pwd {
    type Arguments = NoArguments;
    const NAME: &'static str = "pwd";
    const SUMMARY: &'static str = "Show the folder where relative paths start";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[Example { line: "pwd", shows: "the folder" }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Here>(1)]
    }

    fn run(_: NoArguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let path = playground.path(".");
        Ok(report(&path.canonicalize().map_err(|error| Error::io("open", &path, &error))?))
    }
}
