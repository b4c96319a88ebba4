//! Quantized weights that several tensors of a file make up: packed codes, their scales, whatever else a
//! quantizer needs to put them together again. Each scheme is known by the names that it gives them.

mod bitsandbytes;
mod collection;
mod compressed;
mod gptq;
mod microscaling;
mod recognize;
mod sharing;
pub mod torchao;

pub use collection::Weights;
pub use recognize::recognize;
pub use sharing::Sharing;

use crate::tensor::{Data, StoredTensor, reals};
use qp_abi::sdk::{Attribute, AttributeValue, DType, QuantizationParameters, RNone, RSome, RString, Result};
use std::collections::HashMap;

/// A weight that is made up of several tensors.
#[derive(Debug)]
pub struct Weight {
    /// The name of the scheme: `bitsandbytes`, `GPTQ`.
    pub scheme: &'static str,
    /// What is known of the activations of its layer.
    pub activations: Activations,
    /// The name of the tensor of codes.
    pub codes_name: String,
    /// The codes in the shape of the weight that they stand for.
    pub codes: StoredTensor,
    /// The other tensors by their names, as they are to be read: what they are for is to put the weight together.
    pub parts: Vec<(String, Option<StoredTensor>)>,
    /// How the codes turn into real values.
    pub affine: Option<Affine>,
    /// Why there is no `affine`.
    pub gap: Option<String>,
    /// What the codes are called, where their type alone does not say it: `uint3`.
    pub precision: Option<String>,
    /// What else is known of the weight.
    pub attributes: Vec<Attribute>,
}

/// How a layer takes its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// Real numbers.
    Real,
    /// Quantized anew for each input.
    Dynamic,
    /// Quantized by scales in the file.
    Static,
    /// The file does not say.
    Unknown,
}

/// real = (q − zero point) · scale.
#[derive(Debug)]
pub struct Affine {
    /// The type of the codes.
    pub dtype: DType,
    /// Which codes share a scale.
    pub sharing: Sharing,
    /// The scales in the order of the contract.
    pub scales: Side,
    /// As many zero points, if they are not all zero.
    pub zero_points: Option<Side>,
}

/// A tensor of scales or zero points.
#[derive(Debug)]
pub struct Side {
    /// A name for it: its own, or a new one for what no tensor of the file holds as it is.
    pub name: String,
    /// The numbers.
    pub tensor: StoredTensor,
    /// The tensor of the file that they are computed from; none when this is itself one.
    pub origin: Option<String>,
}

impl Side {
    /// Numbers that a tensor of the file holds as they are.
    pub fn stored(name: impl Into<String>, tensor: &StoredTensor) -> Self {
        Self { name: name.into(), tensor: tensor.clone(), origin: None }
    }

    /// Numbers that are computed from a tensor of the file.
    pub fn computed(origin: impl Into<String>, tensor: StoredTensor, what: &str) -> Self {
        let origin = origin.into();
        Self { name: format!("{origin}.{what}"), tensor, origin: Some(origin) }
    }

    /// The numbers when there are few enough to list, and the name to read them by.
    fn resolved(&self, is_inline: bool, data: &Data) -> Result<(Vec<f64>, RString)> {
        let numbers = if is_inline { reals(&self.tensor, data)? } else { Vec::new() };
        let has_name = self.origin.is_none() || !is_inline;
        Ok((numbers, if has_name { self.name.as_str().into() } else { RString::new() }))
    }
}

impl Affine {
    /// The parameters as the contract writes them, and the computed tensors that they name; `None` when there
    /// are not as many scales as the codes need. More than `most` scales are named and not listed.
    ///
    /// # Errors
    /// `CorruptFile` when scales or zero points cannot be read.
    pub fn parameters(
        &self,
        codes: &StoredTensor,
        data: &Data,
        most: usize,
    ) -> Result<Option<(QuantizationParameters, Vec<&Side>)>> {
        let count = self.scales.tensor.element_count().unwrap_or(0);
        let fits = self.zero_points.as_ref().is_none_or(|side| side.tensor.element_count() == Some(count));
        if self.sharing.scale_count(&codes.shape) != Some(count) || !fits {
            return Ok(None);
        }
        let is_inline = count <= QuantizationParameters::MAX_INLINE.min(most) as u64;
        let (scales, scale_name) = self.scales.resolved(is_inline, data)?;
        let (zero_points, zero_point_name) = match &self.zero_points {
            Some(side) => side.resolved(is_inline, data)?,
            None => (Vec::new(), RString::new()),
        };
        let mut parameters = QuantizationParameters::per_channel(self.dtype, scales, zero_points, 0);
        parameters.scale_count = count;
        (parameters.scale_name, parameters.zero_point_name) = (scale_name, zero_point_name);
        (parameters.axis, parameters.block_size) = match self.sharing {
            Sharing::Tensor => (RNone, RNone),
            Sharing::Channel(axis) => (RSome(axis), RNone),
            Sharing::Block(axis, size) => (RSome(axis), RSome(size)),
        };
        let sides = [Some(&self.scales), self.zero_points.as_ref()].into_iter().flatten();
        let computed = sides.filter(|side| side.origin.is_some() && !is_inline).collect();
        Ok(Some((parameters, computed)))
    }
}

/// The tensors of a file by their names.
#[derive(Debug)]
pub struct Tensors<'a> {
    by_name: HashMap<&'a str, &'a StoredTensor>,
    data: &'a Data,
}

impl<'a> Tensors<'a> {
    /// Tensors and where their elements are.
    pub fn new(tensors: impl Iterator<Item = (&'a str, &'a StoredTensor)>, data: &'a Data) -> Self {
        Self { by_name: tensors.collect(), data }
    }

    fn get(&self, name: &str) -> Option<&'a StoredTensor> {
        self.by_name.get(name).copied()
    }

    /// A matrix of the given type.
    fn matrix(&self, name: &str, dtype: DType) -> Option<&'a StoredTensor> {
        self.get(name).filter(|tensor| tensor.dtype == dtype && tensor.shape.len() == 2)
    }

    /// Those of the names that there are, as parts that are read as they are stored.
    fn parts(&self, prefix: &str, names: &[&str]) -> Vec<(String, Option<StoredTensor>)> {
        let full = names.iter().map(|name| format!("{prefix}{name}"));
        full.filter(|name| self.by_name.contains_key(name.as_str())).map(|name| (name, None)).collect()
    }
}

/// An attribute that is a text.
fn text(name: &str, value: impl Into<String>) -> Attribute {
    Attribute { name: name.into(), value: AttributeValue::Text(value.into().into()) }
}

/// An attribute that is a whole number.
fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), value: AttributeValue::Int(value) }
}

/// An attribute that is a list of whole numbers.
fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: name.into(), value: AttributeValue::Ints(values.to_vec().into()) }
}
