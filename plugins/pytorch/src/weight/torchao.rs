//! torchao's tensor subclasses: a weight that shows a float type and a shape, and is made of codes, scales and
//! maybe zero points.
//!
//! real = (code − zero point) · scale, a scale for each block of `block_size` (`Int4Tensor`: code · scale + zero
//! point). They come as objects in pickles, and as plain tensors with a description in the metadata of
//! safetensors (torchao's `flatten_tensor_state_dict`). Source: torchao 0.18; the older `AffineQuantizedTensor`,
//! which has its codes in a `tensor_impl`, from torchao 0.8 on.

use super::sharing::spread_over_rows;
use super::{Activations, Affine, Sharing, Side, Weight, int, ints, text};
use crate::pickle::Value;
use crate::rebuild::{Composite, Rebuild};
use crate::tensor::{Data, Derived, Formula, Packed, Packing, Place, StoredTensor, numbers};
use qp_abi::sdk::{Attribute, DType, Result};
use std::sync::Arc;

/// A subclass as the file describes it.
#[derive(Debug, Clone)]
pub struct Subclass {
    /// The name of the weight.
    pub name: String,
    /// The classes, the outermost first: `Int8Tensor`.
    pub classes: Vec<String>,
    /// The type that it shows.
    pub dtype: DType,
    /// The shape that it shows.
    pub shape: Vec<i64>,
    /// The tensors it is made of, by the names of its attributes.
    pub parts: Vec<(String, StoredTensor)>,
    /// The codes that share a scale, along each axis.
    pub block_size: Option<Vec<i64>>,
    /// The type whose range the codes keep to, where that is not the one they are stored in: `int4`.
    pub target: Option<String>,
    /// Whether activations are quantized, too.
    pub has_activation_settings: bool,
    /// Whether the scales lie in an order of a kernel.
    pub is_swizzled: bool,
    /// Whether zero points are real numbers to add.
    pub has_float_zero_points: bool,
}

/// Names of codes, in the order of the classes' ages.
const CODES: &[&str] = &["qdata", "int_data", "float8_data", "packed_weight"];

impl Subclass {
    /// The subclass that the object of a pickle is, under the name of the weight.
    pub fn of_pickle(rebuild: Rebuild<'_>, name: &str, composite: Composite) -> Self {
        let pickle = rebuild.pickle;
        let attribute = |wanted: &str| {
            let mut named = composite.attributes.iter();
            named.find(|(name, _)| name.rsplit('.').next() == Some(wanted)).map(|(_, value)| *value)
        };
        let is_set = |wanted: &str| attribute(wanted).is_some_and(|at| *pickle.get(at) != Value::None);
        let global =
            |wanted: &str| attribute(wanted).and_then(|at| pickle.global(at)).map(|found| found.name.clone());
        let int = |wanted: &str| attribute(wanted).and_then(|at| pickle.int(at));
        let range = match (int("quant_min"), int("quant_max")) {
            (Some(-8), Some(7)) => Some("int4".to_owned()),
            (Some(0), Some(15)) => Some("uint4".to_owned()),
            _ => None,
        };
        // An enumeration: INT 1, FLOAT 2, NONE 3.
        let domain = attribute("zero_point_domain").and_then(|at| pickle.object(at));
        let domain = domain.and_then(|object| pickle.int(*pickle.arguments(object).first()?));
        Self {
            name: name.to_owned(),
            block_size: attribute("block_size").and_then(|at| pickle.ints(at)),
            target: global("target_dtype").or(range),
            has_activation_settings: ["act_quant_kwargs", "activation_quantization", "input_quant_func"]
                .iter()
                .any(|name| is_set(name)),
            is_swizzled: attribute("is_swizzled_scales").and_then(|at| pickle.int(at)) == Some(1),
            has_float_zero_points: domain == Some(2),
            classes: composite.classes.clone(),
            dtype: composite.dtype,
            shape: composite.shape.clone(),
            parts: composite.parts.iter().map(|(part, found)| (part.clone(), found.tensor.clone())).collect(),
        }
    }

    fn part(&self, name: &str) -> Option<(&str, &StoredTensor)> {
        let found = self.parts.iter().find(|(part, _)| part.rsplit('.').next() == Some(name));
        found.map(|(part, tensor)| (part.as_str(), tensor))
    }

    fn full(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    fn is(&self, class: &str) -> bool {
        self.classes.iter().any(|found| found == class)
    }

    /// The weight that it is; `None` for a class without codes, such as sparse ones.
    ///
    /// # Errors
    /// `CorruptFile` when a scale of all scales cannot be read.
    pub fn weight(&self, data: &Data) -> Result<Option<Weight>> {
        let Some((codes_part, stored)) = CODES.iter().find_map(|name| self.part(name)) else {
            return Ok(None);
        };
        let (codes, gap) = self.codes(stored);
        let others = self.parts.iter().filter(|(part, _)| part != codes_part);
        let parts = others.map(|(part, _)| (self.full(part), None)).collect();
        let mut weight = Weight {
            scheme: "torchao",
            activations: self.activations(),
            codes_name: self.full(codes_part),
            codes,
            parts,
            affine: None,
            gap,
            precision: None,
            attributes: self.attributes(),
        };
        weight.precision = self.target.clone();
        if weight.gap.is_none() {
            weight.affine = self.affine(&mut weight, data)?;
            if weight.affine.is_none() {
                weight.gap = Some("its scales match no axis or block of its shape".to_owned());
            }
        }
        Ok(Some(weight))
    }

    fn activations(&self) -> Activations {
        if self.part("act_quant_scale").is_some() {
            Activations::Static
        } else if self.has_activation_settings || self.is("LinearActivationQuantizedTensor") {
            Activations::Dynamic
        } else {
            Activations::Real
        }
    }

    fn attributes(&self) -> Vec<Attribute> {
        let mut attributes = vec![
            text("class", self.classes.join(" of ")),
            text("stands for", self.dtype.to_string()),
            ints("weight shape", &self.shape),
        ];
        match self.block_size.as_deref() {
            Some([1, size]) if self.shape.last() != Some(size) => attributes.push(int("block size", *size)),
            Some(sizes) => attributes.push(ints("block size", sizes)),
            None => {}
        }
        attributes.extend(self.target.as_deref().map(|target| text("range", target)));
        attributes
    }

    /// The codes in the shape that they stand for, and why they have no scales.
    fn codes(&self, stored: &StoredTensor) -> (StoredTensor, Option<String>) {
        let tiles = "its codes are in the order of a kernel's tiles".to_owned();
        let is_half = self.shape.len() == stored.shape.len()
            && self.shape.split_last().zip(stored.shape.split_last()).is_some_and(
                |((columns, rows), (bytes, stored_rows))| {
                    rows == stored_rows && bytes.checked_mul(2) == Some(*columns)
                },
            );
        // A packed dtype of PyTorch holds two elements in one of its own.
        let is_float = stored.dtype == DType::FLOAT4_E2M1 || self.is("MXTensor") || self.is("NVFP4Tensor");
        if is_half && stored.is_contiguous() && matches!(stored.dtype.bits(), 4 | 8) {
            let dtype = if is_float { DType::FLOAT4_E2M1 } else { DType::INT4 };
            return (self.unpacked(stored, dtype), None);
        }
        let is_packed_in_words = stored.dtype == DType::INT32 && !self.is("AffineQuantizedTensor");
        let is_tiled = stored.shape.len() > self.shape.len() || is_packed_in_words;
        if is_tiled && stored.is_contiguous() && stored.dtype.bits() >= 8 {
            return (self.tiles(stored), Some(tiles));
        }
        let gap = (stored.shape != self.shape).then_some(tiles);
        (stored.clone(), gap)
    }

    /// Two codes a byte along the last axis, the first in the low bits.
    fn unpacked(&self, stored: &StoredTensor, dtype: DType) -> StoredTensor {
        let columns = self.shape.last().copied().unwrap_or(1);
        let rows = self.shape.iter().rev().skip(1).fold(1_i64, |rows, size| rows.saturating_mul(*size));
        let mut words = stored.clone();
        words.dtype = DType::UINT8;
        let packing = Packing {
            words,
            packed: Packed::AlongRows,
            bits: 4,
            order: &[],
            shape: (rows, columns),
            is_transposed: false,
            offset: 0,
            dtype,
        };
        let place = Place::Derived(Arc::new(Derived::Codes(packing)));
        StoredTensor::dense_at(place, dtype, self.shape.clone())
    }

    /// 4-bit codes whose order only the kernel knows: counted, padding included, and no more.
    fn tiles(&self, stored: &StoredTensor) -> StoredTensor {
        let bytes = stored.bytes().and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(0);
        let mut words = stored.clone();
        words.dtype = DType::UINT8;
        words.offset = stored.offset.saturating_mul(i64::from(stored.dtype.bits() / 8));
        (words.shape, words.strides) = (vec![bytes], vec![1]);
        let count = bytes.saturating_mul(2);
        let shown = self.shape.iter().try_fold(1_i64, |count, size| count.checked_mul(*size));
        let shape = if shown == Some(count) { self.shape.clone() } else { vec![count] };
        let packing = Packing {
            words,
            packed: Packed::Flat,
            bits: 4,
            order: &[],
            shape: (1, count),
            is_transposed: false,
            offset: 0,
            dtype: DType::UINT4,
        };
        StoredTensor::dense_at(Place::Derived(Arc::new(Derived::Codes(packing))), DType::UINT4, shape)
    }

    fn affine(&self, weight: &mut Weight, data: &Data) -> Result<Option<Affine>> {
        let Some((part, scale)) = self.part("scale") else { return Ok(None) };
        if self.is_swizzled {
            return Ok(None);
        }
        let (name, shape) = (self.full(part), weight.codes.shape.clone());
        let dtype = match self.target.as_deref() {
            Some("int2") => DType::INT2,
            Some("int4") => DType::INT4,
            _ => weight.codes.dtype,
        };
        if self.is("Int4Tensor") {
            return Ok(self.int4(weight, &name, scale));
        }
        let by_blocks = || self.block_size.as_deref().and_then(|sizes| Sharing::of_blocks(&shape, sizes));
        let zero = self.part("zero_point");
        if zero.is_some() && self.has_float_zero_points {
            return Ok(None);
        }
        if let Some((_, global)) = self.part("per_tensor_scale") {
            let Some(factor) = numbers(global, data)?.first().copied() else { return Ok(None) };
            let formula = Formula::Scaled(scale.clone(), factor.to_bits());
            let place = Place::Derived(Arc::new(Derived::Numbers(formula)));
            let scaled = StoredTensor::dense_at(place, DType::FLOAT64, scale.shape.clone());
            let scales = Side::computed(name, scaled, "scaled");
            let sharing = Sharing::of(&shape, &scale.shape);
            return Ok(sharing.map(|sharing| Affine { dtype, sharing, scales, zero_points: None }));
        }
        let zero_points = zero.map(|(part, zero)| Side::stored(self.full(part), zero));
        if let Some(sharing) = Sharing::of(&shape, &scale.shape).or_else(by_blocks) {
            return Ok(Some(Affine { dtype, sharing, scales: Side::stored(name, scale), zero_points }));
        }
        Ok(spread_over_rows(scale, &shape).filter(|_| zero_points.is_none()).map(|(spread, sharing)| {
            Affine { dtype, sharing, scales: Side::computed(name, spread, "rows"), zero_points: None }
        }))
    }

    /// Scales and offsets of `Int4Tensor`, which has them as groups, rows.
    fn int4(&self, weight: &mut Weight, name: &str, scale: &StoredTensor) -> Option<Affine> {
        let (zero_part, zero) = self.part("zero_point")?;
        let shape = &weight.codes.shape;
        let turn = |tensor: &StoredTensor| {
            let mut turned = tensor.clone();
            let rank = turned.shape.len();
            (rank >= 2).then(|| {
                turned.shape.swap(rank - 1, rank - 2);
                turned.strides.swap(rank - 1, rank - 2);
                turned
            })
        };
        let (scales, offsets) = (turn(scale)?, turn(zero)?);
        let sharing = Sharing::of(shape, &scales.shape)?;
        let zero_name = self.full(zero_part);
        for (part, tensor) in &mut weight.parts {
            if part == name {
                *tensor = Some(scales.clone());
            }
        }
        let formula = Formula::ZeroPoints { offsets: offsets.clone(), scales: scales.clone() };
        let place = Place::Derived(Arc::new(Derived::Numbers(formula)));
        let zero_points = StoredTensor::dense_at(place, DType::FLOAT64, offsets.shape);
        Some(Affine {
            dtype: DType::INT4,
            sharing,
            scales: Side::stored(name, &scales),
            zero_points: Some(Side::computed(zero_name, zero_points, "codes")),
        })
    }
}
