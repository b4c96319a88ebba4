//! A node with what is known about its inputs.

use super::{Element, Fact, Facts, MAX_FOLDED};
use crate::convert;
use crate::graph::{Layer, ValueId};
use crate::quant::parameters::Reader;
use qp_abi::sdk::{AttributeValue, DType, Dimension, element_count};

/// A node, as its rule sees it.
pub(super) struct Node<'a> {
    pub op: &'a str,
    pub layer: &'a Layer,
    /// The version of ONNX's own operators.
    pub opset: i64,
    pub reader: Reader<'a>,
    pub facts: &'a Facts,
}

impl<'a> Node<'a> {
    /// What is known about an input; nothing if it is omitted.
    fn fact(&self, slot: usize) -> Option<&'a Fact> {
        self.layer.input(slot).map(|id| self.facts.get(id))
    }

    /// Whether there is such an input.
    pub(super) fn has(&self, slot: usize) -> bool {
        self.layer.input(slot).is_some()
    }

    pub(super) fn shape(&self, slot: usize) -> Option<&'a [Dimension]> {
        self.fact(slot)?.shape.as_deref()
    }

    pub(super) fn owned_shape(&self, slot: usize) -> Option<Vec<Dimension>> {
        self.shape(slot).map(<[Dimension]>::to_vec)
    }

    pub(super) fn dtype(&self, slot: usize) -> Option<DType> {
        self.fact(slot)?.dtype
    }

    pub(super) fn rank(&self, slot: usize) -> Option<usize> {
        self.shape(slot).map(<[Dimension]>::len)
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeValue> {
        self.layer
            .attributes
            .iter()
            .find(|attribute| attribute.name == name)
            .map(|attribute| &attribute.value)
    }

    /// The integer attribute with this name. A function's attribute is unknown; then there is none at all.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.layer.int(name)
    }

    /// The integer attribute with this name, or its default if the file does not give it; `None` if the file gives
    /// something else.
    pub(super) fn int_or(&self, name: &str, default: i64) -> Option<i64> {
        match self.attribute(name) {
            Some(AttributeValue::Int(number)) => Some(*number),
            Some(_) => None,
            None => Some(default),
        }
    }

    pub(super) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        match self.attribute(name)? {
            AttributeValue::Ints(numbers) => Some(numbers.to_vec()),
            _ => None,
        }
    }

    pub(super) fn floats(&self, name: &str) -> Option<Vec<f64>> {
        match self.attribute(name)? {
            AttributeValue::Floats(numbers) => Some(numbers.to_vec()),
            _ => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        match self.attribute(name)? {
            AttributeValue::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    pub(super) fn has_attribute(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// The element type that an attribute names by its code.
    pub(super) fn dtype_attribute(&self, name: &str) -> Option<DType> {
        let code = self.int(name).and_then(|code| i32::try_from(code).ok())?;
        Some(crate::proto::dtype(Some(code))).filter(|dtype| *dtype != DType::UNDEFINED)
    }

    /// The elements of a small whole-number input, each if known.
    pub(super) fn elements(&self, slot: usize) -> Option<Vec<Element>> {
        let id = self.layer.input(slot)?;
        match &self.facts.elements[id] {
            Some(elements) => Some(elements.clone()),
            None => Some(self.numbers_of(id)?.into_iter().map(Element::Number).collect()),
        }
    }

    /// The elements of a small whole-number input, if all of them are known.
    pub(super) fn numbers(&self, slot: usize) -> Option<Vec<i64>> {
        let number = |element: Element| match element {
            Element::Number(number) => Some(number),
            Element::Symbol(_) | Element::Unknown => None,
        };
        self.elements(slot)?.into_iter().map(number).collect()
    }

    /// The elements of a small stored tensor of whole numbers.
    fn numbers_of(&self, id: ValueId) -> Option<Vec<i64>> {
        let values = self.reals_of(id, |dtype| matches!(dtype, DType::INT64 | DType::INT32))?;
        Some(values.into_iter().map(|value| value as i64).collect())
    }

    /// The elements of a small stored tensor of floats.
    pub(super) fn reals(&self, slot: usize) -> Option<Vec<f64>> {
        self.reals_of(self.layer.input(slot)?, |dtype| matches!(dtype, DType::FLOAT32 | DType::FLOAT64))
    }

    fn reals_of(&self, id: ValueId, is_wanted: impl Fn(DType) -> bool) -> Option<Vec<f64>> {
        let stored = self.reader.graph.values[id].stored?;
        let tensor = self.reader.tensors.get(stored);
        let count = usize::try_from(element_count(&tensor.shape)?).ok()?;
        if count > MAX_FOLDED
            || !is_wanted(tensor.dtype)
            || tensor.is_sparse
            || !tensor.external_file.is_empty()
        {
            return None;
        }
        let bytes = self.reader.tensors.bytes(stored).ok()?;
        convert::to_f64(tensor.dtype, &bytes, count).filter(|values| values.len() == count)
    }

    /// Axes given as an attribute or, from some version on, as an input; `None` if they are given but unknown.
    /// Negative ones count from the end; sorted.
    pub(super) fn axes(&self, slot: usize, rank: usize) -> Option<Vec<usize>> {
        let given = match self.has(slot) {
            true => self.numbers(slot)?,
            false if self.has_attribute("axes") => self.ints("axes")?,
            false => return Some(Vec::new()),
        };
        let mut axes: Vec<usize> =
            given.into_iter().map(|axis| axis_of(axis, rank)).collect::<Option<_>>()?;
        axes.sort_unstable();
        axes.dedup();
        Some(axes)
    }
}

/// The index of an axis that may be counted from the end.
pub(super) fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let index = if axis < 0 { axis.checked_add(rank)? } else { axis };
    usize::try_from(index).ok().filter(|_| index < rank)
}

/// A fixed size; `None` for a free one.
pub(super) fn size(dimension: &Dimension) -> Option<i64> {
    (dimension.size >= 0).then_some(dimension.size)
}

/// The product of sizes if all are fixed.
pub(super) fn product(dimensions: &[Dimension]) -> Option<i64> {
    dimensions.iter().try_fold(1_i64, |total, dimension| total.checked_mul(size(dimension)?))
}

/// The product as a dimension: also of one symbol and ones.
pub(super) fn product_dimension(dimensions: &[Dimension]) -> Dimension {
    if let Some(size) = product(dimensions) {
        return Dimension::fixed(size);
    }
    let mut others = dimensions.iter().filter(|dimension| size(dimension) != Some(1));
    match (others.next(), others.next()) {
        (Some(only), None) => only.clone(),
        _ => Dimension::unknown(),
    }
}

/// One fact for the first output.
pub(super) fn one(dtype: Option<DType>, shape: Option<Vec<Dimension>>) -> Option<Vec<Fact>> {
    Some(vec![Fact::new(dtype, shape)])
}
