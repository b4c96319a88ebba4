//! The catalog: the model files, and which of them are variants of one network.

pub mod accuracy;
pub mod family;
pub mod kept_results;
pub mod measured;
pub mod name;
mod scan;

pub use accuracy::Accuracy;
pub use kept_results::KeptResults;
pub use measured::{Measured, Measurements};
pub use name::Named;

use crate::backend::{Backends, Progress, Session};
use crate::cache::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Finding, ModelInfo, Severity};
use crate::spelling::nearest;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What `open` found.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// The folder, or the one file.
    pub root: PathBuf,
    /// The variants, in the order of family and name.
    pub variants: Vec<Variant>,
    /// Files that look like models by name but that no backend recognizes.
    pub skipped: Vec<PathBuf>,
    /// Why the folder's `qp.toml` is not used.
    pub problem: Option<Error>,
    /// When the `qp.toml` was written.
    pub told: Option<SystemTime>,
}

/// One model file.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The path below the catalog's root: unique, and the name that commands use.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    /// The network it is a variant of.
    pub family: String,
    /// The backend that reads it; empty when none could be chosen.
    pub backend: String,
    /// The format; empty when it is not known.
    pub format: String,
    /// Bytes of the file and of those it refers to.
    pub bytes: u64,
    /// What is in it, or why it cannot be read.
    pub digest: Result<Digest>,
    /// Its accuracy, if the catalog's `qp.toml` gives it.
    pub accuracy: Option<Accuracy>,
    /// Its file and those it refers to.
    pub files: Vec<PathBuf>,
}

/// A model that was read for a listing, kept so that loading need not read it again.
pub struct Opened {
    /// The model.
    pub session: Session,
    /// The stamp of its file before it was read.
    pub stamp: Stamp,
}

/// The few numbers of a model that listings show.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    /// `float32`, `int8`, `mixed`, …
    pub precision: String,
    /// `QDQ`, `QOperator`, `FX`, …; none for a float model.
    pub scheme: Option<String>,
    /// How many layers it has.
    pub layers: usize,
    /// How many parameters it has.
    pub parameters: u64,
    /// Bytes of its stored tensors.
    pub tensor_bytes: u64,
    /// The share of parameters that are stored quantized, 0 to 1; none without parameters.
    pub quantized_share: Option<f64>,
    /// Whether its backend can run it, given a runtime.
    pub is_runnable: bool,
    /// The most serious finding above a note.
    pub alert: Option<Finding>,
}

impl Digest {
    /// The numbers of this model.
    pub fn new(info: &ModelInfo) -> Self {
        Self {
            precision: info.precision.clone(),
            scheme: info.scheme.clone(),
            layers: info.layer_count(),
            parameters: info.parameter_count(),
            tensor_bytes: info.stored_bytes(),
            quantized_share: info.quantized_share(),
            is_runnable: info.run_obstacle.is_none(),
            alert: info
                .findings
                .iter()
                .filter(|finding| finding.severity > Severity::Note)
                .max_by_key(|finding| finding.severity)
                .cloned(),
        }
    }

    /// The precision with the scheme: `int8 QDQ`, `float32`.
    pub fn precision_text(&self) -> String {
        match &self.scheme {
            // `dynamic-uint8` includes it already.
            Some(scheme) if self.precision.starts_with(scheme.as_str()) => self.precision.clone(),
            Some(scheme) => format!("{} {scheme}", self.precision),
            None => self.precision.clone(),
        }
    }
}

impl Catalog {
    /// Finds the models in a folder, or the one in a file, and reads each; returns along with them, by path, the
    /// models whose files have no more than `kept_bytes` together.
    ///
    /// # Errors
    /// `NotFound` for a path that does not exist or a folder without models, `Io` for one that cannot be read,
    /// `Cancelled`. A model that cannot be read is not an error: its digest says why.
    pub fn open(
        path: &Path,
        backends: &Backends,
        kept_bytes: u64,
        progress: &dyn Progress,
    ) -> Result<(Self, Vec<(PathBuf, Opened)>)> {
        let metadata = std::fs::metadata(path).map_err(|error| open_error(path, &error))?;
        let files = if metadata.is_dir() {
            scan::model_files(path, &|file| backends.could_be_model(file), progress)?
        } else {
            vec![path.to_owned()]
        };
        let root = if metadata.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let (accuracies, problem) = match accuracy::read(root) {
            Ok(accuracies) => (accuracies, None),
            Err(error) => (accuracy::Accuracies::default(), Some(error)),
        };
        let found = scan::inspect_all(&files, backends, kept_bytes, progress)?;

        let parts = parts_of_others(&files, &found);
        let (mut variants, mut skipped, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (file, mut inspection) in files.into_iter().zip(found) {
            if parts.contains(&file) {
                continue;
            }
            // A name alone is weak evidence: a folder may hold a `labels.bin`. A single file that the user named is
            // another matter.
            let is_foreign = inspection.outcome.as_ref().is_err_and(|error| {
                error.kind() == ErrorKind::UnsupportedFormat && inspection.backend.is_empty()
            });
            if is_foreign && metadata.is_dir() {
                skipped.push(file);
                continue;
            }
            kept.extend(inspection.opened.take().map(|opened| (file.clone(), opened)));
            let stem = backends.stem(&file);
            variants.push(variant(root, file, &stem, inspection, &accuracies));
        }
        if variants.is_empty() {
            return Err(no_models(path, &skipped, backends));
        }
        if let ([one], false) = (&variants[..], metadata.is_dir())
            && let Err(error) = &one.digest
        {
            return Err(error.clone());
        }
        variants.sort_by(|one, other| (&one.family, &one.id).cmp(&(&other.family, &other.id)));
        let catalog = Self { root: path.to_owned(), variants, skipped, problem, told: accuracies.told };
        Ok((catalog, kept))
    }

    /// Lists a model file that was written since, if it lies in the catalog's folder.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn add(&mut self, path: &Path, backends: &Backends, progress: &dyn Progress) -> Result<()> {
        if !self.root.is_dir() || !path.starts_with(&self.root) {
            return Ok(());
        }
        let accuracies = accuracy::read(&self.root).unwrap_or_default();
        for inspection in scan::inspect_all(&[path.to_owned()], backends, 0, progress)? {
            let added = variant(&self.root, path.to_owned(), &backends.stem(path), inspection, &accuracies);
            self.variants.retain(|variant| variant.id != added.id);
            self.variants.push(added);
        }
        self.variants.sort_by(|one, other| (&one.family, &one.id).cmp(&(&other.family, &other.id)));
        Ok(())
    }

    /// The families, in order, each with its variants.
    pub fn families(&self) -> Vec<(&str, Vec<&Variant>)> {
        let mut families: Vec<(&str, Vec<&Variant>)> = Vec::new();
        for variant in &self.variants {
            match families.last_mut() {
                Some((family, variants)) if *family == variant.family => variants.push(variant),
                _ => families.push((&variant.family, vec![variant])),
            }
        }
        families
    }

    /// The variant with this full name.
    pub fn variant(&self, id: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.id == id)
    }
}

/// The files that hold tensors of another model and so are not models themselves. A file that is itself part of
/// another hides none of its parts, so that two which name each other both stay.
fn parts_of_others(files: &[PathBuf], found: &[scan::Inspection]) -> HashSet<PathBuf> {
    let named: HashSet<&PathBuf> = found.iter().flat_map(|inspection| &inspection.external_files).collect();
    let wholes = files.iter().zip(found).filter(|(file, _)| !named.contains(file));
    wholes.flat_map(|(_, inspection)| inspection.external_files.iter().cloned()).collect()
}

fn variant(
    root: &Path,
    path: PathBuf,
    stem: &str,
    inspection: scan::Inspection,
    accuracies: &accuracy::Accuracies,
) -> Variant {
    let below_root = path.strip_prefix(root).unwrap_or(&path);
    let id = below_root.to_string_lossy().replace('\\', "/");
    let own_family = family::family_name(stem);
    let family = match below_root.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => format!("{}/{own_family}", folder.to_string_lossy()),
        None => own_family.to_owned(),
    };
    let bytes = |file: &Path| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let external: u64 = inspection.external_files.iter().map(|file| bytes(file)).sum();
    let own_bytes = bytes(&path);
    Variant {
        accuracy: accuracies.by_model.get(&id).cloned(),
        id,
        family,
        backend: inspection.backend,
        format: inspection.format,
        bytes: own_bytes.saturating_add(external),
        digest: inspection.outcome,
        files: std::iter::once(path.clone()).chain(inspection.external_files).collect(),
        path,
    }
}

fn open_error(path: &Path, error: &std::io::Error) -> Error {
    let explained = Error::io("open", path, error);
    match error.kind() {
        std::io::ErrorKind::NotFound => match nearest_sibling(path) {
            Some(sibling) => explained.with_hint(format!("Did you mean `{}`?", sibling.display())),
            None => explained.with_hint("Give the path of a folder of models, or of one model file."),
        },
        std::io::ErrorKind::PermissionDenied => {
            explained.with_hint("Get read permission, or use a copy that you can read.")
        }
        _ => explained,
    }
}

/// The file in the folder of `path` whose name is nearly the same.
pub fn nearest_sibling(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wanted = path.file_name()?.to_string_lossy();
    let names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    nearest(&wanted, names.iter().map(String::as_str)).map(|near| path.with_file_name(near))
}

fn no_models(path: &Path, skipped: &[PathBuf], backends: &Backends) -> Error {
    let error = Error::not_found(format!("no models in `{}`", path.display()));
    let error = match skipped {
        [] => error,
        [first, ..] => error.with_cause(format!(
            "{} {} like a model by name only, for example `{}`",
            skipped.len(),
            if skipped.len() == 1 { "file looks" } else { "files look" },
            first.display()
        )),
    };
    let error = backends.with_broken(error);
    match backends.endings_hint() {
        None => error.with_hint("No plugin can be used: see `backends`."),
        Some(endings) => error.with_hint(format!("Give `open` the folder of your models. {endings}")),
    }
}
