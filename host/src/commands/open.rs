//! `open`: scan a folder or one file into the catalog.

use super::listing::{Listed, counted, listing_table};
use super::{Command, Example, Group, Scope};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::report::Report;
use crate::render::style::Tone;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// `open [PATH]`
pub(super) struct Open;

/// The arguments of `open`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A folder of models, or one model file; without it, choose from a list
    #[arg(value_name = "PATH")]
    path: Option<String>,
}

#[derive(Serialize)]
struct Opened {
    root: PathBuf,
    families: usize,
    models: Vec<Listed>,
    skipped: Vec<PathBuf>,
    problem: Option<Error>,
}

impl Command for Open {
    type Arguments = Arguments;
    const NAME: &'static str = "open";
    const SUMMARY: &'static str = "Scan a folder of models, or one model file";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "open .", shows: "every model below the folder, by family" },
        Example { line: "open resnet8.onnx", shows: "one model" },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let path = match arguments.path {
            Some(text) => playground.path(&text),
            None => picked(playground, scope)?,
        };
        let task = scope.ui.task(scope.cancel);
        let kept_bytes = playground.settings.cache_limit_bytes;
        let (catalog, opened) = Catalog::open(&path, &playground.backends, kept_bytes, &task)?;
        drop(task);
        // A current model of another folder would be called by a name that is no longer listed.
        if !catalog.variants.iter().any(|variant| playground.is_current(&variant.path)) {
            playground.choose(None);
        }
        let (skipped, problem) = (catalog.skipped.clone(), catalog.problem.clone());
        let families = catalog.families().len();
        playground.list(catalog, opened);
        report(Opened { root: path, families, models: Listed::all(playground), skipped, problem })
    }
}

fn report(opened: Opened) -> Result<Report> {
    let mut report = Report::new(&opened)?
        .toned_line([
            (
                Tone::Plain,
                format!(
                    "{} of {} in ",
                    counted(opened.models.len(), "model"),
                    counted(opened.families, "family")
                ),
            ),
            (Tone::Name, opened.root.display().to_string()),
        ])
        .table(listing_table(&opened.models));
    if !opened.skipped.is_empty() {
        let text =
            format!("{} passed over: no plugin knows what is in them", counted(opened.skipped.len(), "file"));
        report = report.toned_line([(Tone::Dim, text)]);
    }
    if let Some(problem) = &opened.problem {
        report =
            report.toned_line([(Tone::Warning, "warning: ".to_owned()), (Tone::Plain, problem.one_line())]);
    }
    Ok(report)
}

/// Lets the user choose among the folders and files below the working folder.
fn picked(playground: &Playground, scope: &Scope<'_>) -> Result<PathBuf> {
    let base = playground.path(".");
    let places = places(&base, &|path| playground.backends.could_be_model(path));
    let choice = if places.is_empty() { None } else { scope.ui.pick("Open which?", places.clone())? };
    match choice.and_then(|index| places.get(index)) {
        Some(place) => Ok(playground.path(place)),
        None if !scope.ui.appearance().is_interactive => {
            Err(Error::usage("`open` needs a path when there is nobody to ask")
                .with_hint("Write `open PATH`."))
        }
        None if places.is_empty() => Err(Error::not_found(format!("no models below `{}`", base.display()))
            .with_hint("Give another folder: `open PATH`.")),
        None => Err(Error::cancelled()),
    }
}

/// Folders that hold models, then the models, relative to `base`; a few levels deep and a few hundred at most.
fn places(base: &Path, could_be_model: &dyn Fn(&Path) -> bool) -> Vec<String> {
    const MAX_DEPTH: usize = 4;
    const MAX_FOLDERS: usize = 2_000;
    const MAX_PLACES: usize = 500;
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    let mut pending = vec![(base.to_owned(), 0)];
    let mut visited = 0;
    while let Some((folder, depth)) = pending.pop() {
        visited += 1;
        if visited > MAX_FOLDERS || folders.len() + files.len() > MAX_PLACES {
            break;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let before = files.len();
        for entry in entries.flatten() {
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !is_hidden && depth < MAX_DEPTH => {
                    pending.push((entry.path(), depth + 1))
                }
                Ok(kind) if kind.is_file() && could_be_model(&entry.path()) => {
                    files.push(relative(base, &entry.path()))
                }
                _ => {}
            }
        }
        if files.len() > before {
            let name = relative(base, &folder);
            folders.push(if name.is_empty() { ".".to_owned() } else { format!("{name}/") });
        }
    }
    folders.sort();
    files.sort();
    folders.extend(files);
    folders
}

fn relative(base: &Path, path: &Path) -> String {
    path.strip_prefix(base).unwrap_or(path).display().to_string()
}
