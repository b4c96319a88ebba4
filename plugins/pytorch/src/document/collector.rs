//! Collects tensors into a description under unique names.

use super::Document;
use crate::quant::{Quantizer, Scheme};
use crate::rebuild::Found;
use crate::tensor::{Data, Place, StoredTensor};
use qp_abi::sdk::Names;
use qp_abi::sdk::{
    BackendError, DType, QuantizationParameters, RNone, RSome, RString, Result, TensorInfo, TensorRole,
    ValueInfo,
};
use std::collections::HashMap;
use std::ops::Range;

/// More tensors than any model has.
const MAX_TENSORS: usize = 1 << 19;
/// Bytes of a tensor's name, and of its layer's path.
const MAX_NAME: usize = 4096;
/// Tensors side by side in one storage that are told from views of each other; with more, the rest are none.
const MAX_PARTS_OF_STORAGE: usize = 512;
/// Bytes of names, classes and settings in a description. A file of some kilobytes can give a hundred thousand modules one
/// long path or one long class.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Collects tensors into a [`Document`] under unique names.
#[derive(Debug)]
pub struct Collector {
    /// What is collected.
    pub document: Document,
    /// The tensors of each storage that are no others' parts, with the elements from the first to the last of each.
    of_storage: HashMap<Place, Vec<(Range<i64>, RString)>>,
    names: Names,
    text_bytes: usize,
}

impl Collector {
    /// Starts with an empty document.
    pub fn new(format: &str, data: Data) -> Self {
        Self {
            document: Document::new(format, data),
            of_storage: HashMap::new(),
            names: Names::default(),
            text_bytes: 0,
        }
    }

    /// Says whether so many modules are too many.
    ///
    /// # Errors
    /// `CorruptFile` when they are.
    pub fn check_modules(&self, count: usize) -> Result<()> {
        match count > self.document.parts() {
            true => Err(BackendError::corrupt_file("the file has too many modules")),
            false => Ok(()),
        }
    }

    /// Takes note of so many bytes in the description, before they are there.
    ///
    /// # Errors
    /// `CorruptFile` when they are more than any model has.
    pub fn spend(&mut self, bytes: usize) -> Result<()> {
        self.check_bytes(bytes)?;
        self.text_bytes += bytes;
        Ok(())
    }

    /// Says whether so many bytes more are too many.
    ///
    /// # Errors
    /// As [`Self::spend`].
    pub fn check_bytes(&self, more: usize) -> Result<()> {
        if self.text_bytes.saturating_add(more) > MAX_TEXT_BYTES {
            let most = MAX_TEXT_BYTES >> 20;
            return Err(BackendError::corrupt_file(format!(
                "the names in the file take more than {most} MiB"
            )));
        }
        Ok(())
    }

    /// Adds a tensor that belongs to the layer `layer`; gives back the name it got, which is `name` with a
    /// number where there is one with that name already.
    ///
    /// # Errors
    /// `CorruptFile` when it lies outside of its storage, or has no name that is one.
    pub fn add(&mut self, name: &str, layer: &str, role: TensorRole, found: Found) -> Result<RString> {
        let Found { tensor, quantizer, .. } = found;
        if name.len().max(layer.len()) > MAX_NAME {
            let longer = name.len().max(layer.len());
            return Err(BackendError::corrupt_file(format!(
                "the name of a tensor, or of its layer, has {longer} bytes"
            )));
        }
        self.spend(name.len() + layer.len())?;
        tensor.check(name, &self.document.data)?;
        if self.document.info.tensors.len() >= MAX_TENSORS.min(self.document.parts()) {
            return Err(BackendError::corrupt_file("the file has too many tensors"));
        }
        let name = self.names.claim(if name.is_empty() { "tensor" } else { name }, '#', 2);
        let quantization = match &quantizer {
            Some(quantizer) => RSome(self.parameters(quantizer, &name, layer)?),
            None => RNone,
        };
        let alias_of = self.whole_of(&tensor, &name);
        let info = TensorInfo {
            name: name.as_str().into(),
            role,
            dtype: tensor.dtype,
            shape: tensor.shape.clone().into(),
            bytes: tensor.bytes().unwrap_or(0),
            layer: layer.into(),
            quantization,
            external_file: self.document.data.file_of(&tensor.place).unwrap_or_default().into(),
            alias_of,
            type_name: tensor.book().map_or("", |book| book.type_name.as_str()).into(),
        };
        self.document.info.tensors.push(info);
        self.document.tensors.insert(name.clone(), tensor);
        Ok(name.into())
    }

    /// The earlier tensor of the same storage that holds all the elements of this one; empty when there is none. Tensors
    /// that lie side by side in one storage, as an LSTM's flattened weights do, are not aliases.
    fn whole_of(&mut self, tensor: &StoredTensor, name: &str) -> RString {
        let is_nowhere = match &tensor.place {
            Place::Nowhere => true,
            Place::Shard { place, .. } => **place == Place::Nowhere,
            Place::Entry(_) | Place::Span { .. } | Place::Derived(_) => false,
        };
        if is_nowhere {
            return RString::new();
        }
        let last: i64 = tensor
            .shape
            .iter()
            .zip(&tensor.strides)
            .map(|(size, stride)| size.saturating_sub(1).max(0).saturating_mul(*stride))
            .fold(0, i64::saturating_add);
        let range = tensor.offset..tensor.offset.saturating_add(last).saturating_add(1);
        let known = self.of_storage.entry(tensor.place.clone()).or_default();
        let whole = known.iter().find(|(whole, _)| whole.start <= range.start && range.end <= whole.end);
        if let Some((_, whole)) = whole {
            return whole.clone();
        }
        if known.len() < MAX_PARTS_OF_STORAGE {
            known.push((range, name.into()));
        }
        RString::new()
    }

    /// The parameters of a tensor; those that are too many to list become tensors beside it.
    fn parameters(
        &mut self,
        quantizer: &Quantizer,
        name: &str,
        layer: &str,
    ) -> Result<QuantizationParameters> {
        let mut parameters = quantizer.parameters(&self.document.data, self.document.scales())?;
        self.document.count_scales(&parameters);
        if let Scheme::PerChannel { scales, zero_points, .. } = &quantizer.scheme
            && parameters.scales.is_empty()
            && parameters.scale_count > 0
        {
            let plain = |tensor: &StoredTensor| Found {
                tensor: tensor.clone(),
                quantizer: None,
                is_parameter: false,
            };
            let role = TensorRole::QUANTIZATION;
            parameters.scale_name = self.add(&format!("{name}.scales"), layer, role, plain(scales))?;
            parameters.zero_point_name =
                self.add(&format!("{name}.zero_points"), layer, role, plain(zero_points))?;
        }
        Ok(parameters)
    }
}

/// A value of which nothing but its name and perhaps its quantization is known.
pub fn value(name: &str, quantization: Option<QuantizationParameters>) -> ValueInfo {
    ValueInfo {
        name: name.into(),
        dtype: quantization.as_ref().map_or(DType::UNDEFINED, |parameters| parameters.dtype),
        quantization: quantization.into(),
        ..ValueInfo::default()
    }
}
