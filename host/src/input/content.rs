//! Where an input's values come from, and how they are fitted to a model's inputs.

use super::{
    CifarBatches, Fitted, Generator, Picture, PictureOptions, Samples, Selection, Stored, fit, only_input,
    pixels, read,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{DType, Dimension, Tensor, ValueInfo};
use crate::parallel;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where an input's values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Generated for each model's inputs.
    Generated(Generator),
    /// An array from a file.
    Array(Tensor),
    /// A large array that stays in its file.
    Stored(Stored),
    /// Records of CIFAR-10, which stay in their files.
    Cifar(CifarBatches),
    /// Samples of an array or of records, by their numbers.
    Picked(Arc<Content>, Arc<[u64]>),
    /// An array or records of uint8, prepared as pictures are.
    Pixels(Box<Content>, PictureOptions),
    /// A picture, decoded: its layout follows the model's.
    Picture(Picture, PictureOptions),
    /// Files of a folder, one sample each, read when needed.
    Files(Vec<PathBuf>, PictureOptions),
    /// One part per input of a model, by name.
    Named(Vec<(String, Content)>),
    /// The arrays of a file by name; each model takes those of its inputs.
    Archive(PathBuf, Vec<(String, Content)>),
}

/// File extensions of samples.
pub(super) const ENDINGS: [&str; 5] = ["npy", "npz", "png", "jpg", "jpeg"];

pub(super) fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

impl Content {
    /// Reads from a file, by its extension, or finds the samples of a folder.
    ///
    /// # Errors
    /// `NotFound`, `CorruptFile`, `InvalidInput`, and `UnsupportedFormat` for an unknown extension.
    pub fn read(path: &Path, selection: &Selection, options: &PictureOptions) -> Result<Self> {
        if path.is_dir() {
            return Self::folder(path, selection, options);
        }
        match ending(path).as_str() {
            "npy" => Ok(read::npy(path, selection)?.into_pictures(options)),
            "npz" => {
                let content = match selection.key {
                    None => Self::archive(path, selection),
                    Some(_) => read::npz(path, selection),
                };
                Ok(content?.into_pictures(options))
            }
            "png" | "jpg" | "jpeg" if *selection != Selection::default() => Err(Error::usage(format!(
                "`{}` is a single picture, so there are no samples to choose from",
                path.display()
            ))),
            "png" | "jpg" | "jpeg" => Ok(Self::Picture(Picture::read(path)?, options.clone())),
            _ => Err(Error::new(
                ErrorKind::UnsupportedFormat,
                format!("qp cannot read `{}` as an input", path.display()),
            )
            .with_hint(
                "Give a file that ends in .npy, .npz, .png, .jpg, .bin or .raw, a folder of them, or `random`, `zeros` or `ones`.",
            )),
        }
    }

    /// The only array of a file, or all that can be inputs.
    fn archive(path: &Path, selection: &Selection) -> Result<Self> {
        let keys = read::npz_keys(path)?;
        if keys.len() < 2 {
            return read::npz(path, selection);
        }
        let mut arrays = Vec::new();
        for key in keys {
            let selection = Selection { key: Some(key.clone()), ..selection.clone() };
            match read::npz(path, &selection) {
                Ok(array) => arrays.push((key, array)),
                // Text arrays, and arrays with fewer samples, may serve another purpose.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self::Archive(path.to_owned(), arrays))
    }

    /// The files of a folder in the order of their names.
    fn folder(path: &Path, selection: &Selection, options: &PictureOptions) -> Result<Self> {
        let entries = std::fs::read_dir(path).map_err(|error| Error::io("read", path, &error))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| ENDINGS.contains(&ending(path).as_str()) && path.is_file())
            .collect();
        files.sort();
        let count = files.len() as u64;
        let (first, end) = match selection.samples {
            None => (0, count),
            Some(Samples::One(index)) => (index, index.saturating_add(1)),
            Some(Samples::Range(ref range)) => (range.start, range.end.min(count)),
        };
        if count == 0 {
            return Err(Error::not_found(format!("`{}` holds no samples", path.display()))
                .with_hint("Samples are files that end in .npy, .npz, .png or .jpg."));
        }
        if first >= end || end > count {
            return Err(Error::invalid_input(format!(
                "sample {first} of `{}` does not exist: it has {count}",
                path.display()
            )));
        }
        let part = files.get(first as usize..end as usize).unwrap_or_default();
        Ok(Self::Files(part.to_vec(), options.clone()))
    }

    /// How many samples there are for an input with `rank` dimensions; `None` if it is fitted as a whole.
    pub(super) fn sample_count(&self, rank: Option<usize>) -> Option<u64> {
        match self.outline() {
            Some((dtype, shape)) => {
                let samples = shape.first().filter(|_| rank == Some(shape.len()) && dtype.bits() >= 8);
                samples.copied()
            }
            None => self.own_count(),
        }
    }

    /// How many samples there are, for any model; `None` for a single value.
    pub fn own_count(&self) -> Option<u64> {
        match self {
            Self::Generated(generator) => Some(generator.samples()),
            Self::Array(array) => array.shape.first().copied().filter(|_| array.dtype.bits() >= 8),
            Self::Stored(stored) => stored.count(),
            Self::Cifar(batches) => batches.shape().first().copied(),
            Self::Picked(_, indices) => Some(indices.len() as u64),
            Self::Pixels(pixels, _) => {
                let (dtype, shape) = pixels.outline()?;
                Some(pixels::layout(dtype, &shape)?.pictures)
            }
            Self::Picture(..) => Some(1),
            Self::Files(files, _) => Some(files.len() as u64),
            Self::Named(parts) | Self::Archive(_, parts) => {
                common_count(&mut parts.iter().map(|(_, part)| part))
            }
        }
    }

    /// Type and shape, if it is one array.
    pub fn outline(&self) -> Option<(DType, Vec<u64>)> {
        match self {
            Self::Array(array) => Some((array.dtype, array.shape.clone())),
            Self::Stored(stored) => Some((stored.dtype, stored.shape.clone())),
            Self::Cifar(batches) => Some((DType::UINT8, batches.shape())),
            Self::Picked(all, indices) => {
                let (dtype, mut shape) = all.outline()?;
                *shape.first_mut()? = indices.len() as u64;
                Some((dtype, shape))
            }
            _ => None,
        }
    }

    /// The elements, if it is one array.
    pub(super) fn array(&self) -> Result<Option<Cow<'_, Tensor>>> {
        Ok(Some(match self {
            Self::Array(array) => Cow::Borrowed(array),
            Self::Stored(stored) => Cow::Owned(stored.read()?),
            Self::Cifar(batches) => Cow::Owned(batches.read()?),
            Self::Picked(all, indices) => {
                let mut joined: Option<Tensor> = None;
                for run in indices.chunk_by(|one, next| one + 1 == *next) {
                    let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
                    let part = all.samples(*first, last + 1);
                    let Some(part) = part.array()? else { return Ok(None) };
                    match &mut joined {
                        None => joined = Some(part.into_owned()),
                        Some(whole) => whole.bytes.extend_from_slice(&part.bytes),
                    }
                }
                let Some(mut whole) = joined else { return Ok(None) };
                if let Some(count) = whole.shape.first_mut() {
                    *count = indices.len() as u64;
                }
                Cow::Owned(whole)
            }
            _ => return Ok(None),
        }))
    }

    pub(super) fn samples(&self, first: u64, end: u64) -> Self {
        match self {
            Self::Generated(generator) => {
                Self::Generated(Generator { window: Some((first, end)), ..generator.clone() })
            }
            Self::Array(array) => Self::Array(array.samples(first, end)),
            Self::Stored(stored) => Self::Stored(stored.samples(first, end)),
            Self::Cifar(batches) => Self::Cifar(batches.samples(first, end)),
            Self::Picked(all, indices) => {
                let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(indices.len());
                Self::Picked(
                    Arc::clone(all),
                    indices.get(place(first)..place(end)).unwrap_or_default().into(),
                )
            }
            Self::Pixels(pixels, options) => {
                // A single picture has no batch dimension.
                let is_one =
                    pixels.outline().is_some_and(|(_, shape)| self.own_count() != shape.first().copied());
                let part = if is_one { (**pixels).clone() } else { pixels.samples(first, end) };
                Self::Pixels(Box::new(part), options.clone())
            }
            Self::Picture(..) => self.clone(),
            Self::Files(files, options) => {
                let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(files.len());
                Self::Files(files.get(place(first)..place(end)).unwrap_or_default().to_vec(), options.clone())
            }
            Self::Named(parts) => Self::Named(samples_of(parts, first, end)),
            Self::Archive(path, parts) => Self::Archive(path.clone(), samples_of(parts, first, end)),
        }
    }

    pub(super) fn fit(&self, declared: &[ValueInfo], may_round: bool) -> Result<Fitted> {
        match self {
            Self::Generated(generator) => generator.tensors(declared),
            Self::Array(_) | Self::Stored(_) | Self::Cifar(_) | Self::Picked(..) => {
                let value = only_input(declared)?;
                let array = self.array()?.ok_or_else(|| Error::internal("an array has no elements"))?;
                fit::array(&array, value, may_round)
            }
            Self::Pixels(pixels, options) => {
                let value = only_input(declared)?;
                let array = pixels.array()?.ok_or_else(|| Error::internal("pictures have no elements"))?;
                pixels::fit(&array, value, options)
            }
            Self::Picture(picture, options) => picture.fit(only_input(declared)?, options),
            Self::Files(files, options) => {
                let value = only_input(declared)?;
                // Each sample is fitted as a batch of one.
                let mut one = value.clone();
                if let Some(batch) = one.shape.as_mut().and_then(|shape| shape.first_mut()) {
                    *batch = Dimension::Fixed(1);
                }
                // Decoding can take longer than running the model.
                let each = parallel::map(files.len(), parallel::cores(), |index| {
                    let content = Self::read(&files[index], &Selection::default(), options)?;
                    content
                        .fit(std::slice::from_ref(&one), may_round)
                        .map_err(|error| error.within(format!("`{}` does not fit", files[index].display())))
                });
                fit::joined(each.into_iter(), value)
            }
            Self::Named(parts) => {
                let unknown =
                    parts.iter().find(|(name, _)| !declared.iter().any(|value| value.name == *name));
                if let Some((name, _)) = unknown {
                    let names: Vec<_> = declared.iter().map(|value| format!("`{}`", value.name)).collect();
                    return Err(Error::invalid_input(format!("the model has no input `{name}`"))
                        .with_hint(format!("Its inputs are {}.", names.join(", "))));
                }
                let mut fitted = Fitted { tensors: Vec::new(), steps: Vec::new() };
                for value in declared {
                    let part = parts.iter().find(|(name, _)| *name == value.name);
                    if part.is_none() && value.is_optional {
                        continue;
                    }
                    let (_, part) = part.ok_or_else(|| {
                        let is_number = value.shape.as_ref().is_some_and(Vec::is_empty);
                        let example = match value.dtype {
                            DType::BOOL if is_number => "true",
                            dtype if is_number && dtype.is_integer() => "3",
                            _ if is_number => "0.5",
                            _ => "FILE",
                        };
                        Error::invalid_input(format!("input `{}` is missing", value.name))
                            .with_hint(format!("Add `{}={example}` to the `input` command.", value.name))
                    })?;
                    let own = part.fit(std::slice::from_ref(value), may_round)?;
                    fitted.tensors.extend(own.tensors);
                    fitted.steps.extend(own.steps.into_iter().map(|step| format!("{}: {step}", value.name)));
                }
                Ok(fitted)
            }
            Self::Archive(path, parts) => {
                check_parts(path, parts, declared)?;
                let own = own_parts(parts, declared);
                Self::Named(own.into_iter().cloned().collect()).fit(declared, may_round)
            }
        }
    }
}

/// The number of samples that all parts share; a single number is the same for all samples.
pub(super) fn common_count(parts: &mut dyn Iterator<Item = &Content>) -> Option<u64> {
    let is_scalar = |part: &Content| matches!(part, Content::Array(array) if array.shape.is_empty());
    let mut counts = parts.filter(|part| !is_scalar(part)).map(Content::own_count);
    let first = counts.next()??;
    counts.all(|count| count == Some(first)).then_some(first)
}

fn samples_of(parts: &[(String, Content)], first: u64, end: u64) -> Vec<(String, Content)> {
    parts.iter().map(|(name, part)| (name.clone(), part.samples(first, end))).collect()
}

/// # Errors
/// `Ambiguous` when no part has the name of one of a model's inputs.
pub(super) fn check_parts(path: &Path, parts: &[(String, Content)], declared: &[ValueInfo]) -> Result<()> {
    if own_parts(parts, declared).is_empty() {
        return Err(read::ambiguous(path, &read::npz_keys(path)?, declared.len() > 1));
    }
    Ok(())
}

/// The parts that have the names of a model's inputs.
pub(super) fn own_parts<'a>(
    parts: &'a [(String, Content)],
    declared: &[ValueInfo],
) -> Vec<&'a (String, Content)> {
    parts.iter().filter(|(name, _)| declared.iter().any(|value| value.name == *name)).collect()
}
