//! Reads scales and zero points from where they are stored, and puts them into the ABI's form.

use super::operator::{self, Axis, passes_on};
use crate::convert;
use crate::document::{Document, Tensors};
use crate::graph::{Graph, Layer, ValueId};
use qp_abi::sdk::{DType, Dimension, QuantizationParameters, RNone, RSome, RString, element_count};
use std::cell::Cell;

/// How far a value is traced back to the tensor it was made from.
const MAX_STEPS: usize = 16;

/// How often the scale of a scale may itself be codes.
const MAX_NESTED_SCALES: usize = 3;

/// This many scales and zero points are always listed. Beyond them, at most as many as the file has bytes: one stored
/// tensor may hold the scales of a hundred thousand values.
const FREE_NUMBERS: u64 = 1 << 20;

/// A graph and the means to read its stored tensors.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its tensors.
    pub tensors: &'a Tensors,
    /// How many scales and zero points may still be listed.
    left: &'a Cell<u64>,
}

/// How many scales and zero points of a file may be listed.
pub fn listed(document: &Document) -> Cell<u64> {
    Cell::new(FREE_NUMBERS.saturating_add(document.source.bytes().len() as u64))
}

/// Scales or zero points.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// The values; `None` if there are too many, they cannot be read, or they are computed.
    pub values: Option<Vec<f64>>,
    /// How many there are.
    pub count: u64,
    /// The stored tensor, if there is one.
    pub name: String,
    /// Whether they are computed from the input.
    pub is_computed: bool,
}

impl<'a> Reader<'a> {
    /// Reads a document; `left` is the result of [`listed`].
    pub fn new(document: &'a Document, left: &'a Cell<u64>) -> Self {
        Self { graph: &document.graph, tensors: &document.tensors, left }
    }

    /// The operator's type; empty for one of the model's own functions and for a foreign domain, whose operators only
    /// happen to have the same names. Quantizers of other tools have the names of ONNX's, or their own.
    pub fn op(&self, layer: &'a Layer) -> &'a str {
        let is_known = matches!(layer.domain.as_str(), "" | "com.microsoft" | "com.ms.internal.nhwc")
            && (self.graph.functions.is_empty()
                || !self.graph.functions.contains(&(layer.domain.clone(), layer.op_type.clone())));
        if is_known { &layer.op_type } else { operator::foreign(&layer.domain, &layer.op_type) }
    }

    /// The operator and the layer that compute a value.
    pub fn producer(&self, value: ValueId) -> Option<(&'a str, &'a Layer)> {
        let (layer, _) = self.graph.values[value].producer?;
        let layer = &self.graph.layers[layer];
        Some((self.op(layer), layer))
    }

    /// The stored tensor that a value stands for or was made from by operators that only pass it on, and whether one
    /// of `through` was among them.
    pub fn root(&self, value: ValueId, through: &[&str]) -> Option<(usize, bool)> {
        let mut at = value;
        let mut passed = false;
        for _ in 0..MAX_STEPS {
            if let Some(stored) = self.graph.values[at].stored {
                return Some((stored, passed));
            }
            let (op, layer) =
                self.producer(at).filter(|(op, layer)| passes_on(op) || self.clips_codes(op, layer))?;
            passed |= through.contains(&op);
            at = layer.input(0)?;
        }
        None
    }

    /// Whether a layer clips the codes that another has just computed.
    pub fn clips_codes(&self, op: &str, layer: &Layer) -> bool {
        op == "Clip"
            && layer
                .input(0)
                .and_then(|value| self.producer(value))
                .is_some_and(|(op, _)| op == "QuantizeLinear")
    }

    /// The element type of a value, if the file tells it.
    pub fn dtype(&self, value: ValueId) -> Option<DType> {
        let value = &self.graph.values[value];
        match value.stored {
            Some(stored) => Some(self.tensors.get(stored).dtype),
            None => value.ty.as_ref()?.tensor_dtype(),
        }
        .filter(|&dtype| dtype != DType::UNDEFINED)
    }

    /// The number of dimensions of a value, if the file tells it.
    pub fn rank(&self, value: ValueId) -> Option<i64> {
        let value = &self.graph.values[value];
        let rank = match value.stored {
            Some(stored) => self.tensors.get(stored).shape.len(),
            None => value.ty.as_ref()?.tensor_shape().map(<[Dimension]>::len)?,
        };
        i64::try_from(rank).ok()
    }

    /// The numbers of a scale or a zero point.
    pub fn numbers(&self, value: ValueId) -> Numbers {
        self.numbers_within(value, 0)
    }

    /// `depth` says in how many scales and zero points this one is nested.
    fn numbers_within(&self, value: ValueId, depth: usize) -> Numbers {
        let Some((stored, is_code)) = self.root(value, &["DequantizeLinear"]) else {
            return Numbers { is_computed: true, ..Numbers::default() };
        };
        if is_code {
            let found = self.dequantized(value, depth);
            return found.unwrap_or(Numbers { is_computed: true, ..Numbers::default() });
        }
        let tensor = self.tensors.get(stored);
        let count = element_count(&tensor.shape).unwrap_or(0);
        let name = tensor.name.clone();
        let fits = usize::try_from(count).ok().filter(|&count| count <= QuantizationParameters::MAX_INLINE);
        let may_list = self.left.get().checked_sub(count);
        let values = fits.zip(may_list).and_then(|(count, left)| {
            self.left.set(left);
            let bytes = self.tensors.bytes(stored).ok()?;
            convert::to_f64(tensor.dtype, &bytes, count).filter(|values| values.len() == count)
        });
        Numbers { values, count, name, is_computed: false }
    }

    /// Scales that are themselves stored as codes, as in AIMET's LPBQ and NVFP4: `DequantizeLinear` of a stored
    /// tensor, whose own scale may be one again. Listed only: no stored tensor holds them.
    fn dequantized(&self, value: ValueId, depth: usize) -> Option<Numbers> {
        if depth > MAX_NESTED_SCALES {
            return None;
        }
        let (op, layer) = self.producer(value)?;
        if op != "DequantizeLinear" {
            return None;
        }
        let codes = layer.input(0)?;
        let stored = self.graph.values[codes].stored?;
        let shape = self.tensors.get(stored).shape.clone();
        let scale = layer.input(1)?;
        let scales = match self.graph.values[scale].stored {
            Some(_) => self.numbers(scale),
            None => self.dequantized(scale, depth + 1)?,
        };
        let zero_points = layer.input(2).map(|value| self.numbers_within(value, depth + 1));
        let (codes, scales) = (self.numbers(codes), scales.values?);
        let zero_points = zero_points.map_or_else(|| Some(Vec::new()), |numbers| numbers.values)?;
        let rank = i64::try_from(shape.len()).ok()?;
        let axis = layer.int("axis").unwrap_or(1);
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok();
        let block =
            layer.int("block_size").and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
        let sizes: Vec<usize> = shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
        // The scale of each element: one for all, one per index of the axis, or one per block along it.
        let scale_of = |element: usize| -> Option<usize> {
            if scales.len() == 1 {
                return Some(0);
            }
            let axis = axis.filter(|axis| *axis < sizes.len())?;
            let inner: usize = sizes[axis + 1..].iter().product();
            let (along, column) = (element / inner.max(1) % sizes[axis].max(1), element % inner.max(1));
            match block {
                None => Some(along),
                Some(block) => {
                    let outer = element / (inner * sizes[axis]).max(1);
                    Some((outer * sizes[axis].div_ceil(block) + along / block) * inner + column)
                }
            }
        };
        let real = |(element, code): (usize, &f64)| {
            let place = scale_of(element)?;
            let zero_point = zero_points.get(place).or(zero_points.first()).copied().unwrap_or(0.0);
            Some((code - zero_point) * scales.get(place)?)
        };
        let values: Vec<f64> = codes.values?.iter().enumerate().map(real).collect::<Option<_>>()?;
        Some(Numbers { count: codes.count, values: Some(values), ..Numbers::default() })
    }

    /// The parameters of `codes`, which are of type `dtype`.
    pub fn parameters(
        &self,
        dtype: DType,
        codes: Option<ValueId>,
        scale: Option<ValueId>,
        zero_point: Option<ValueId>,
        axis: Option<i64>,
    ) -> QuantizationParameters {
        let scale = scale.map(|value| self.numbers(value));
        let zero_point = zero_point.map(|value| self.numbers(value)).unwrap_or_default();
        let scale = scale.unwrap_or_default();
        // If there are more values than can be listed, both are read as tensors.
        let is_listed = scale.values.is_some() && (zero_point.values.is_some() || zero_point.count == 0);
        // A scale that a damaged file lacks is known at run time at the earliest.
        let is_missing = scale.name.is_empty() && !is_listed;
        let is_dynamic = scale.is_computed || zero_point.is_computed || is_missing;
        let listed = |numbers: Option<Vec<f64>>| if is_listed { numbers.unwrap_or_default() } else { vec![] };
        let axis = axis.filter(|_| scale.count > 1).map(|axis| {
            let rank = codes.and_then(|codes| self.rank(codes));
            rank.filter(|_| axis < 0).map_or(axis, |rank| axis + rank)
        });
        QuantizationParameters {
            dtype,
            scales: listed(scale.values).into(),
            zero_points: listed(zero_point.values).into(),
            scale_count: scale.count,
            axis: axis.map_or(RNone, RSome),
            block_size: RNone,
            scale_name: RString::from(scale.name),
            zero_point_name: RString::from(zero_point.name),
            is_dynamic,
            code_range: RNone,
        }
    }

    /// The axis of an operand of `layer`.
    pub fn axis(axis: Axis, layer: &Layer) -> i64 {
        match axis {
            Axis::At(axis) => axis,
            Axis::Gemm => i64::from(layer.int("transB").unwrap_or(0) == 0),
        }
    }
}
