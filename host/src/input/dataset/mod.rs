//! Data sets: samples with their labels, the names of the classes, and how pictures become tensors.

mod cifar;
mod classes;
mod folder;
mod idx;
mod list;
mod recipe;
mod subset;
#[cfg(test)]
mod tests;

pub use cifar::CifarBatches;
pub use recipe::{Recipe, read_labels};

use super::{Content, Input, PictureOptions, Samples, Selection, ending};
use crate::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// Samples, what is known about them, and how they are prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What the user asked for, without the preparation, which the source of [`Self::input`] also has.
    pub source: String,
    /// What the source is: `class folders`, `CIFAR-10`.
    pub form: &'static str,
    /// The samples.
    pub input: Arc<Input>,
    /// How many there are.
    pub samples: u64,
    /// The class of each sample.
    pub labels: Option<Vec<i64>>,
    /// The name of each class, by label; empty if unknown.
    pub classes: Vec<String>,
    /// How pictures become tensors, in words; empty if nothing was chosen.
    pub preparation: String,
}

/// What was found at a path.
struct Found {
    form: &'static str,
    content: Content,
    labels: Option<Vec<i64>>,
    classes: Vec<String>,
}

/// Where data come from and what is done with them, with all paths resolved.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    path: &'a Path,
    selection: &'a Selection,
    options: &'a PictureOptions,
    /// The names of the classes, if the user gave them.
    classes: Option<&'a [String]>,
}

impl Dataset {
    /// Finds out what is at `path` by what it is, and where its labels are; reads no samples that need not be read.
    ///
    /// # Errors
    /// `NotFound`, `Io`, `CorruptFile`, `InvalidInput`, `UnsupportedFormat`.
    pub fn open(
        path: &Path,
        selection: &Selection,
        source: String,
        options: &PictureOptions,
        classes: Option<&[String]>,
    ) -> Result<Self> {
        let found = find(Source { path, selection, options, classes })?;
        let samples = found.content.own_count().unwrap_or(1);
        if let Some(labels) = found.labels.as_ref().filter(|labels| labels.len() as u64 != samples) {
            return Err(count_differs(&source, labels.len(), samples));
        }
        Ok(Self {
            form: found.form,
            input: Arc::new(Input { source: source.clone(), content: found.content, may_round: false }),
            source,
            samples,
            labels: found.labels,
            classes: found.classes,
            preparation: options.text(),
        })
    }

    /// These samples with their labels.
    ///
    /// # Errors
    /// `InvalidInput` for samples that do not exist.
    pub fn part(&self, samples: &Samples) -> Result<Self> {
        let (first, end) =
            bounds(samples, self.samples).ok_or_else(|| missing(samples, &self.source, self.samples))?;
        let mut part = self.clone();
        part.samples = end - first;
        part.labels = self
            .labels
            .as_ref()
            .map(|labels| labels.iter().skip(first as usize).take((end - first) as usize).copied().collect());
        let of = if self.source.contains(", ") { ", of them " } else { "" };
        let source = format!("{}{of}[{first}:{end}]", self.source);
        part.input = Arc::new(self.input.samples(first, end));
        Ok(part.called(source))
    }
}

/// The first sample and the one after the last of `count`; `None` if there are none.
fn bounds(samples: &Samples, count: u64) -> Option<(u64, u64)> {
    let (first, end) = match samples {
        Samples::One(index) => (*index, index.saturating_add(1)),
        Samples::Range(range) => (range.start, range.end.min(count)),
    };
    (first < end && end <= count).then_some((first, end))
}

fn missing(samples: &Samples, source: &str, count: u64) -> Error {
    let first = match samples {
        Samples::One(index) => *index,
        Samples::Range(range) => range.start,
    };
    Error::invalid_input(format!("sample {first} of `{source}` does not exist: it has {count}"))
        .with_hint(format!("Choose an index from 0 to {}.", count.saturating_sub(1)))
}

fn count_differs(source: &str, labels: usize, samples: u64) -> Error {
    Error::invalid_input(format!("there are {labels} labels for {samples} samples of `{source}`"))
        .with_hint("Give one label for each sample, in the order of the samples.")
}

fn find(source: Source<'_>) -> Result<Found> {
    let path = source.path;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if path.is_dir() {
        return folder::open(source);
    }
    if idx::is_images(&name) {
        return idx::open(source);
    }
    match ending(path).as_str() {
        "bin" => cifar::open(&[path.to_owned()], source),
        "txt" | "csv" | "tsv" => list::open(source),
        ending => {
            let form = match ending {
                "npy" | "npz" => "array",
                _ => "picture",
            };
            let (input, labels) = Input::with_labels(path, source.selection, String::new(), source.options)?;
            let classes = classes::of_numbers(labels.as_deref(), source.classes)?;
            Ok(Found { form, content: input.content, labels, classes })
        }
    }
}

/// Those of all files, one sample each, that a selection means, with their labels.
fn chosen<T: Clone>(all: &[T], source: Source<'_>) -> Result<Vec<T>> {
    let Some(samples) = &source.selection.samples else { return Ok(all.to_vec()) };
    let count = all.len() as u64;
    let (first, end) =
        bounds(samples, count).ok_or_else(|| missing(samples, &source.path.display().to_string(), count))?;
    Ok(all.get(first as usize..end as usize).unwrap_or_default().to_vec())
}
