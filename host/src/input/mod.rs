//! What models run on: read from a file or generated, and fitted to each model's inputs.

mod content;
mod dataset;
mod fit;
mod generate;
mod labels;
mod picture;
mod pixels;
mod raw;
mod read;
mod stored;

pub use content::Content;
pub use dataset::{CifarBatches, Dataset, Recipe, read_labels};
pub use fit::Fitted;
pub use generate::{Fill, Generator};
pub use labels::labels;
pub use picture::{Picture, PictureLayout, PictureOptions, Resize};
pub use raw::raw;
pub use read::{Samples, Selection, arrays_in};
pub use stored::Stored;

use crate::error::{Error, Result};
use crate::model::{DType, ModelInfo, Tensor, ValueInfo};
use content::{ENDINGS, check_parts, common_count, ending, own_parts};
use std::borrow::Cow;
use std::path::Path;

/// The input of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// What the user asked for: `random --seed 1`, `digits.npz:images[0]`.
    pub source: String,
    /// Where the values come from.
    pub content: Content,
    /// Whether values may be rounded to fit a model's dtype.
    pub may_round: bool,
}

impl Input {
    /// Reads an input from a file, by its extension.
    ///
    /// # Errors
    /// As [`Content::read`].
    pub fn from_file(
        path: &Path,
        selection: &Selection,
        source: String,
        options: &PictureOptions,
    ) -> Result<Self> {
        let content = Content::read(path, selection, options)?;
        Ok(Self { source, content, may_round: false })
    }

    /// How pictures become tensors, for pictures and for files that may hold some.
    pub fn picture_options(&self) -> Option<&PictureOptions> {
        match &self.content {
            Content::Picture(_, options) | Content::Files(_, options) | Content::Pixels(_, options) => {
                Some(options)
            }
            _ => None,
        }
    }

    /// How many samples there are along the first dimension, if the model's input has the same rank; 1 for what is fitted
    /// as a whole.
    pub fn sample_count(&self, info: &ModelInfo, sibling: Option<&ModelInfo>) -> u64 {
        let first = info.inputs.first();
        let rank = first
            .map(|value| completed(value, sibling.and_then(|sibling| sibling.inputs.first())))
            .and_then(|value| value.shape.map(|shape| shape.len()));
        let rank = rank.filter(|_| info.inputs.len() == 1);
        match &self.content {
            Content::Archive(_, parts) => match own_parts(parts, &info.inputs)[..] {
                [(_, only)] => only.sample_count(rank),
                ref several => common_count(&mut several.iter().map(|(_, part)| part)),
            },
            content => content.sample_count(rank),
        }
        .unwrap_or(1)
    }

    /// Whether an archive has an array for any of these inputs.
    ///
    /// # Errors
    /// `Ambiguous` with the names of its arrays.
    pub fn check_names(&self, declared: &[ValueInfo]) -> Result<()> {
        match &self.content {
            Content::Archive(path, parts) => check_parts(path, parts, declared),
            _ => Ok(()),
        }
    }

    /// The input for models that take `samples` at a time: a generated one gets that many, unless the user has chosen
    /// a number.
    pub fn made_up_for(&self, samples: u64) -> Cow<'_, Self> {
        match &self.content {
            Content::Generated(generator) if generator.batch.is_none() && generator.shape.is_none() => {
                let generator = Generator { batch: Some(samples), ..generator.clone() };
                Cow::Owned(Self { content: Content::Generated(generator), ..self.clone() })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// The samples from `first` up to `end`, exclusive; all of anything but an array.
    pub fn samples(&self, first: u64, end: u64) -> Self {
        Self {
            source: self.source.clone(),
            content: self.content.samples(first, end),
            may_round: self.may_round,
        }
    }

    /// The elements of an array, as stored.
    ///
    /// # Errors
    /// Those of reading; `InvalidInput` for anything but an array.
    pub fn array(&self) -> Result<Tensor> {
        let array = self.content.array()?.map(Cow::into_owned);
        array.ok_or_else(|| {
            Error::invalid_input(format!("`{}` is not an array", self.source))
                .with_hint("Give an array of an .npy or .npz file, as in FILE.npz:KEY.")
        })
    }

    /// The tensors for a model's inputs, in order. `sibling` is another variant of the network; it fills in what this
    /// one does not declare about its inputs.
    ///
    /// # Errors
    /// `InvalidInput`, naming both sides, when it does not fit.
    pub fn fit(&self, info: &ModelInfo, sibling: Option<&ModelInfo>) -> Result<Fitted> {
        self.content.fit(&declared(info, sibling), self.may_round)
    }
}

/// A number as an array without dimensions.
pub fn scalar(number: f64) -> Tensor {
    Tensor {
        name: String::new(),
        dtype: DType::FLOAT64,
        shape: Vec::new(),
        bytes: number.to_le_bytes().to_vec(),
        quantization: None,
    }
}

/// What a model takes; another variant of the network fills in what it does not declare.
pub fn declared(info: &ModelInfo, sibling: Option<&ModelInfo>) -> Vec<ValueInfo> {
    info.inputs
        .iter()
        .enumerate()
        .map(|(index, value)| completed(value, sibling.and_then(|sibling| sibling.inputs.get(index))))
        .collect()
}

/// The number of samples that a model takes at once, if its file fixes it.
pub fn fixed_batch(info: &ModelInfo, sibling: Option<&ModelInfo>) -> Option<u64> {
    let declared = declared(info, sibling);
    let [one] = &declared[..] else { return None };
    // With fewer dimensions, there is no batch dimension.
    one.shape.as_ref().filter(|shape| shape.len() > 1)?.first()?.size().filter(|size| *size > 0)
}

/// What `value` declares, filled in from its sibling.
fn completed(value: &ValueInfo, sibling: Option<&ValueInfo>) -> ValueInfo {
    let mut value = value.clone();
    if let Some(sibling) = sibling {
        if value.dtype == DType::UNDEFINED {
            value.dtype = sibling.dtype;
        }
        if value.shape.is_none() {
            value.shape.clone_from(&sibling.shape);
        }
    }
    value
}

fn only_input(declared: &[ValueInfo]) -> Result<&ValueInfo> {
    // Inputs with defaults are optional.
    let mut needed = declared.iter().filter(|value| !value.is_optional);
    if let (Some(one), None) = (needed.next(), needed.next()) {
        return Ok(one);
    }
    match declared {
        [one] => Ok(one),
        [] => Err(Error::invalid_input("the model takes no input")),
        several => {
            let names: Vec<_> = several.iter().map(|value| format!("`{}`", value.name)).collect();
            Err(Error::invalid_input(format!(
                "the model takes {} inputs: {}",
                several.len(),
                names.join(", ")
            ))
            .with_hint("Give one for each, as in `input NAME=FILE NAME=zeros`, or use `input random`, which fills them all."))
        }
    }
}
