//! The stored tensors of a program while it is edited: those of the file, which are not copied, and what edits have put in
//! their place.

use super::super::weights::{Weight, Weights};
use crate::rebuild::Found;
use crate::tensor::Data;
use qp_abi::sdk::{BackendError, DType, Names, Result, element_count};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A tensor that is not in the file as it is here.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub dtype: DType,
    pub shape: Vec<i64>,
    /// Dense, row-major, little-endian.
    pub bytes: Arc<[u8]>,
    /// Whether it is a parameter, and no buffer.
    pub is_parameter: bool,
}

/// All stored tensors, by name.
pub struct Store<'a> {
    found: HashMap<&'a str, &'a Weight>,
    data: &'a Data,
    pub fresh: BTreeMap<String, Fresh>,
    names: Names,
}

impl<'a> Store<'a> {
    pub fn of(weights: &'a Weights, data: &'a Data) -> Self {
        Self {
            found: weights.all.iter().map(|weight| (weight.name.as_str(), weight)).collect(),
            data,
            fresh: BTreeMap::new(),
            names: Names::taken(weights.all.iter().map(|weight| weight.name.clone())),
        }
    }

    /// A name like this one that no stored tensor has.
    pub fn free_name(&mut self, like: &str) -> String {
        self.names.claim(like, '_', 1)
    }

    pub fn has(&self, name: &str) -> bool {
        self.fresh.contains_key(name) || self.found.contains_key(name)
    }

    /// The type and the shape of a tensor.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn describe(&self, name: &str) -> Result<(DType, Vec<i64>)> {
        if let Some(fresh) = self.fresh.get(name) {
            return Ok((fresh.dtype, fresh.shape.clone()));
        }
        let Found { tensor, .. } = self.in_file(name)?;
        Ok((tensor.dtype, tensor.shape.clone()))
    }

    /// Whether a tensor is a parameter.
    pub fn is_parameter(&self, name: &str) -> bool {
        let of_file = || self.found.get(name).is_some_and(|weight| weight.found.is_parameter);
        self.fresh.get(name).map_or_else(of_file, |fresh| fresh.is_parameter)
    }

    fn in_file(&self, name: &str) -> Result<&'a Found> {
        let weight = self.found.get(name).copied();
        let missing =
            || BackendError::not_found(format!("the program stores no tensor `{}`", name.escape_debug()));
        weight.map(|weight| &weight.found).ok_or_else(missing)
    }

    /// The elements of a tensor, dense.
    ///
    /// # Errors
    /// `NotFound`, and those of reading the file.
    pub fn bytes(&self, name: &str) -> Result<Arc<[u8]>> {
        if let Some(fresh) = self.fresh.get(name) {
            return Ok(Arc::clone(&fresh.bytes));
        }
        Ok(self.in_file(name)?.tensor.dense(self.data)?.into())
    }

    /// The shape and the elements of a float32 tensor; `None` for another type.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub fn reals(&self, name: &str) -> Result<Option<(Vec<i64>, Vec<f32>)>> {
        let (dtype, shape) = self.describe(name)?;
        if dtype != DType::FLOAT32 {
            return Ok(None);
        }
        let bytes = self.bytes(name)?;
        let numbers = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(Some((shape, numbers)))
    }

    /// Stores a tensor, perhaps in the place of one of that name.
    ///
    /// # Errors
    /// `InvalidInput` for elements that do not fill the shape.
    pub fn put(&mut self, name: &str, fresh: Fresh) -> Result<()> {
        let Fresh { dtype, shape, bytes, .. } = &fresh;
        let needed = element_count(shape).and_then(|count| dtype.packed_bytes(count));
        if needed != Some(bytes.len() as u64) || dtype.bits() == 0 {
            return Err(BackendError::invalid_input(format!(
                "`{}` would be {dtype} {shape:?} with {} bytes",
                name.escape_debug(),
                bytes.len()
            )));
        }
        self.names.take(name);
        self.fresh.insert(name.to_owned(), fresh);
        Ok(())
    }
}
