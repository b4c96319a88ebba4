//! What models are run on: read from a file or made up, and fitted to each model's inputs.

mod fit;
mod generate;
mod labels;
mod picture;
mod read;

pub use fit::Fitted;
pub use generate::Generator;
pub use labels::labels;
pub use read::Selection;

use crate::error::{Error, Result};
use crate::model::{DType, ModelInfo, Tensor, ValueInfo};
use qp_analysis::ElementType;
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

/// Where an input's values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Made up anew for each model's inputs.
    Generated(Generator),
    /// An array from a file.
    Array(Tensor),
    /// A picture, decoded: its layout follows the model's.
    Picture(picture::Picture),
}

impl Input {
    /// Reads an input from a file, chosen by the file name's ending.
    ///
    /// # Errors
    /// `NotFound`, `CorruptFile`, `InvalidInput`, and `UnsupportedFormat` for an unknown ending.
    pub fn from_file(path: &Path, selection: &Selection, source: String) -> Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let content = match ending.as_str() {
            "npy" => Content::Array(read::npy(path, selection)?),
            "npz" => Content::Array(read::npz(path, selection)?),
            "png" | "jpg" | "jpeg" if *selection != Selection::default() => {
                return Err(Error::usage(format!("`{source}` chooses from a picture, which is one sample")));
            }
            "png" | "jpg" | "jpeg" => Content::Picture(picture::Picture::read(path)?),
            _ => {
                return Err(Error::new(
                    crate::error::ErrorKind::UnsupportedFormat,
                    format!("`{}` is no input that qp reads", path.display()),
                )
                .with_hint(
                    "Give a file that ends in .npy, .npz, .png or .jpg, or say `random` or `zeros`.",
                ));
            }
        };
        Ok(Self { source, content, may_round: false })
    }

    /// How many samples there are along the first dimension, where the model's input has as many dimensions; 1 for
    /// what is fitted as a whole.
    pub fn sample_count(&self, info: &ModelInfo, sibling: Option<&ModelInfo>) -> u64 {
        let Content::Array(array) = &self.content else { return 1 };
        let [value] = &info.inputs[..] else { return 1 };
        let value = completed(value, sibling.and_then(|sibling| sibling.inputs.first()));
        let rank = value.shape.map(|shape| shape.len());
        match array.shape.first() {
            Some(samples) if rank == Some(array.shape.len()) && array.dtype.bits() >= 8 => *samples,
            _ => 1,
        }
    }

    /// The samples from `first` to before `end`; the whole of what is no array.
    pub fn samples(&self, first: u64, end: u64) -> Self {
        let content = match &self.content {
            Content::Array(array) => Content::Array(array.samples(first, end)),
            whole => whole.clone(),
        };
        Self { source: self.source.clone(), content, may_round: self.may_round }
    }

    /// The tensors for a model's inputs, in their order. `sibling` is another variant of the network, asked
    /// for what this one does not say of its inputs.
    ///
    /// # Errors
    /// `InvalidInput` that names both sides when it does not fit.
    pub fn fit(&self, info: &ModelInfo, sibling: Option<&ModelInfo>) -> Result<Fitted> {
        let declared: Vec<ValueInfo> = info
            .inputs
            .iter()
            .enumerate()
            .map(|(index, value)| completed(value, sibling.and_then(|sibling| sibling.inputs.get(index))))
            .collect();
        match &self.content {
            Content::Generated(generator) => generator.tensors(&declared),
            Content::Array(array) => {
                let value = only_input(&declared)?;
                fit::array(array, value, self.may_round)
            }
            Content::Picture(picture) => picture.fit(only_input(&declared)?),
        }
    }
}

/// What `value` says, and where it says nothing what its sibling says.
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
            .with_hint("Use `input random` or `input zeros`, which fill all of them."))
        }
    }
}

/// The type of a dtype's elements as the analysis crate calls it; `None` for strings, complex and unknown
/// ones.
pub fn element_type(dtype: DType) -> Option<ElementType> {
    Some(match dtype {
        DType::FLOAT64 => ElementType::Float64,
        DType::FLOAT32 => ElementType::Float32,
        DType::FLOAT16 => ElementType::Float16,
        DType::BFLOAT16 => ElementType::BFloat16,
        DType::FLOAT8_E4M3FN => ElementType::Float8E4M3Fn,
        DType::FLOAT8_E4M3FNUZ => ElementType::Float8E4M3Fnuz,
        DType::FLOAT8_E5M2 => ElementType::Float8E5M2,
        DType::FLOAT8_E5M2FNUZ => ElementType::Float8E5M2Fnuz,
        DType::FLOAT8_E8M0 => ElementType::Float8E8M0,
        DType::FLOAT4_E2M1 => ElementType::Float4E2M1,
        DType::BOOL => ElementType::Bool,
        dtype if dtype.is_integer() => {
            ElementType::Int { bits: dtype.bits(), is_signed: dtype.is_signed_integer() }
        }
        _ => return None,
    })
}

/// `float32 N×32×32×3`, as messages and tables write a value's type.
pub fn type_text(value: &ValueInfo) -> String {
    if let Some(name) = &value.type_name {
        return name.clone();
    }
    let dtype = if value.dtype == DType::UNDEFINED { "?".to_owned() } else { value.dtype.to_string() };
    match &value.shape {
        Some(shape) => format!("{dtype} {}", shape_text(shape)),
        None => format!("{dtype} of any shape"),
    }
}

/// `N×32×32×3`; `scalar` without dimensions.
pub fn shape_text(shape: &[impl std::fmt::Display]) -> String {
    if shape.is_empty() {
        return "scalar".to_owned();
    }
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
}
