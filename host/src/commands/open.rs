//! `open`: scan a folder or one file into the catalog.

use super::fields::listed::Listed;
use super::{Command, Example, Group, Scope};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Effect, Report, Table};
use crate::render::style::Tone;
use crate::render::text::counted;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `open [PATH]`
pub(super) struct Open;

/// The arguments of `open`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A folder of models, or one model file; without it, choose from a list
    #[arg(value_name = "PATH")]
    path: Option<String>,
}

struct Opened {
    root: PathBuf,
    families: usize,
    models: Vec<Listed>,
    skipped: Vec<PathBuf>,
    problem: Option<Error>,
}

impl Record for Opened {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("root", Unit::Name, "Folder or file that was opened", |opened| {
                opened.root.display().to_string()
            }),
            Self::field("families", Unit::Count, "Number of families", |opened| opened.families),
            Self::list("models", "The model files, by family", |opened| &opened.models),
            Self::field("skipped", Unit::Text, "Files that no plugin recognizes", |opened| {
                opened.skipped.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
            }),
            Self::error("problem", "Why recorded accuracies cannot be read", |opened| {
                opened.problem.as_ref()
            }),
        ]
    }
}

impl Command for Open {
    type Arguments = Arguments;
    const NAME: &'static str = "open";
    const SUMMARY: &'static str = "Scan a folder of models, or one model file";
    const GROUP: Group = Group::Models;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "open .", shows: "all models in the folder and below, by family" },
        Example { line: "open resnet8.onnx", shows: "one model" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Opened>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let path = match arguments.path {
            Some(text) => playground.path(&text),
            None => match picked(playground, scope)? {
                Some(path) => path,
                None => return Ok(Report::default().effect(Effect::Left)),
            },
        };
        let task = scope.ui.task(scope.cancel);
        let kept_bytes = playground.settings.cache_limit_bytes;
        let (catalog, opened) = Catalog::open(&path, &playground.backends, kept_bytes, &task)?;
        drop(task);
        // A current model in another folder is no longer listed.
        if !catalog.variants.iter().any(|variant| playground.is_current(&variant.path)) {
            playground.choose(None);
        }
        let (skipped, problem) = (catalog.skipped.clone(), catalog.problem.clone());
        let families = catalog.families().len();
        playground.list(catalog, opened);
        let opened = Opened { root: path, families, models: Listed::all(playground), skipped, problem };
        Ok(report(&opened).preparation(true))
    }
}

fn report(opened: &Opened) -> Report {
    let mut report = Report::of(opened)
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
        .table(Table::of(&opened.models));
    if !opened.skipped.is_empty() {
        let text = format!("{} skipped: not recognized by any plugin", counted(opened.skipped.len(), "file"));
        report = report.toned_line([(Tone::Dim, text)]);
    }
    if let Some(problem) = &opened.problem {
        report =
            report.toned_line([(Tone::Warning, "warning: ".to_owned()), (Tone::Plain, problem.one_line())]);
    }
    report
}

/// Lets the user choose among the folders and files below the working folder.
fn picked(playground: &Playground, scope: &Scope<'_>) -> Result<Option<PathBuf>> {
    let base = playground.path(".");
    let places = places(&base, &|path| playground.backends.could_be_model(path), &|| false);
    let choice = if places.is_empty() { None } else { scope.ui.pick("Open which?", places.clone())? };
    match choice.and_then(|index| places.get(index)) {
        Some(place) => Ok(Some(playground.path(place))),
        None if !scope.ui.appearance().is_interactive => {
            Err(Error::usage("`open` needs a path outside of an interactive session")
                .with_hint("Write `open PATH`."))
        }
        None if places.is_empty() => Err(Error::not_found(format!("no models below `{}`", base.display()))
            .with_hint("Give another folder: `open PATH`.")),
        None => Ok(None),
    }
}

/// The models in the folder where paths start, or below it, as far as they are found at once.
pub fn models_around(playground: &Playground) -> Vec<String> {
    const PATIENCE: Duration = Duration::from_millis(300);
    let start = Instant::now();
    let could_be_model = |path: &Path| playground.backends.could_be_model(path);
    let mut places = places(&playground.path("."), &could_be_model, &|| start.elapsed() > PATIENCE);
    places.retain(|place| place != "." && !place.ends_with('/'));
    places
}

/// Folders that hold models, then the models, relative to `base`; a few levels deep and a few hundred at most.
fn places(base: &Path, could_be_model: &dyn Fn(&Path) -> bool, is_enough: &dyn Fn() -> bool) -> Vec<String> {
    const MAX_DEPTH: usize = 4;
    const MAX_FOLDERS: usize = 2_000;
    const MAX_PLACES: usize = 500;
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    let mut pending = vec![(base.to_owned(), 0)];
    let mut visited = 0;
    while let Some((folder, depth)) = pending.pop() {
        visited += 1;
        if visited > MAX_FOLDERS || folders.len() + files.len() > MAX_PLACES || is_enough() {
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
