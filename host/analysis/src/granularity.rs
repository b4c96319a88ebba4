//! Which scale belongs to which element of a tensor.

use crate::params::{AffineList, CountMismatch};
use crate::quantize::Quantizer;
use crate::range::CodeRange;
use std::fmt;

/// Which elements share one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// The whole tensor.
    PerTensor,
    /// Each index along an axis.
    PerChannel {
        /// The axis; a negative one counts from the last.
        axis: i64,
    },
    /// Each run of elements along an axis; the last block of an axis may be shorter.
    PerBlock {
        /// The axis; a negative one counts from the last.
        axis: i64,
        /// Elements along the axis that share one scale.
        block_size: u64,
    },
}

/// Without the axis.
impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PerTensor => "per-tensor",
            Self::PerChannel { .. } => "per-channel",
            Self::PerBlock { .. } => "per-block",
        })
    }
}

/// Why a shape cannot have this granularity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GranularityError {
    /// There is no such axis.
    AxisOutOfRange {
        /// The axis asked for.
        axis: i64,
        /// How many axes there are.
        rank: usize,
    },
    /// The block size is 0.
    EmptyBlock,
    /// The product of the dimensions overflows.
    TooManyElements,
}

impl fmt::Display for GranularityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AxisOutOfRange { axis, rank } => {
                write!(f, "axis {axis} of a tensor with {rank} dimensions")
            }
            Self::EmptyBlock => f.write_str("block size 0"),
            Self::TooManyElements => f.write_str("more elements than can be counted"),
        }
    }
}

impl std::error::Error for GranularityError {}

/// Elements next to each other whose parameters are also next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the first element in the whole tensor, in row-major order.
    pub first_element: u64,
    /// How many elements there are.
    pub len: usize,
    /// Index of the first element's parameters.
    pub first_parameter: usize,
    /// Whether each element has its own parameters, one after the other; otherwise all share the first's.
    pub advances: bool,
}

/// Which parameters belong to which element of a tensor of one shape, its elements in row-major order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterMap {
    element_count: u64,
    kind: Kind,
    /// The length of the axis.
    axis_len: u64,
    /// Elements for one index along the axis: the product of the dimensions after it.
    inner: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tensor,
    Channel,
    Block { size: u64, outer: u64 },
}

impl ParameterMap {
    /// For a tensor of this shape (empty for a scalar).
    ///
    /// # Errors
    ///
    /// [`GranularityError`] when the axis is not one of the shape's, the block size is 0, or the number of
    /// elements does not fit in 63 bits.
    pub fn new(shape: &[u64], granularity: Granularity) -> Result<Self, GranularityError> {
        let product = |sizes: &[u64]| {
            sizes
                .iter()
                .try_fold(1u64, |total, size| total.checked_mul(*size))
                .filter(|count| *count <= i64::MAX as u64)
                .ok_or(GranularityError::TooManyElements)
        };
        let element_count = if shape.contains(&0) { 0 } else { product(shape)? };
        let (axis, block_size) = match granularity {
            Granularity::PerTensor => {
                return Ok(Self { element_count, kind: Kind::Tensor, axis_len: 1, inner: 1 });
            }
            Granularity::PerChannel { axis } => (axis, None),
            Granularity::PerBlock { axis, block_size } => (axis, Some(block_size)),
        };
        let rank = shape.len();
        let index = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        let index = index
            .and_then(|index| usize::try_from(index).ok())
            .filter(|index| *index < rank)
            .ok_or(GranularityError::AxisOutOfRange { axis, rank })?;
        let kind = match block_size {
            Some(0) => return Err(GranularityError::EmptyBlock),
            Some(size) => Kind::Block { size, outer: product(&shape[..index])? },
            None => Kind::Channel,
        };
        Ok(Self { element_count, kind, axis_len: shape[index], inner: product(&shape[index + 1..])? })
    }

    /// The number of elements.
    pub fn element_count(&self) -> u64 {
        self.element_count
    }

    /// How many scales the tensor needs: one, one for each channel, or one for each block in row-major order
    /// of the shape with the axis divided by the block size, rounded up.
    pub fn parameter_count(&self) -> u64 {
        match self.kind {
            Kind::Tensor => 1,
            Kind::Channel => self.axis_len,
            Kind::Block { size, outer } => {
                outer.saturating_mul(self.axis_len.div_ceil(size)).saturating_mul(self.inner)
            }
        }
    }

    /// Index of the parameters of this element; `None` beyond the last element. For single look-ups:
    /// [`runs`](Self::runs) needs no division.
    pub fn parameter_of(&self, element: u64) -> Option<usize> {
        if element >= self.element_count {
            return None;
        }
        let index = match self.kind {
            Kind::Tensor => 0,
            Kind::Channel => element / self.inner % self.axis_len,
            Kind::Block { size, .. } => {
                let row = element / self.inner;
                let block = row / self.axis_len * self.axis_len.div_ceil(size) + row % self.axis_len / size;
                block * self.inner + element % self.inner
            }
        };
        usize::try_from(index).ok()
    }

    /// The runs that cover `len` elements starting at `first_element`, in order; fewer at the tensor's end.
    pub fn runs(&self, first_element: u64, len: usize) -> Runs {
        let first = first_element.min(self.element_count);
        let end = self.element_count.min(first.saturating_add(len as u64));
        // For an empty tensor, one instead of zero: nothing is visited.
        let (inner, axis_len) = (self.inner.max(1), self.axis_len.max(1));
        let row = first / inner;
        Runs {
            map: Self { inner, axis_len, ..*self },
            next: first,
            end,
            outer: row / axis_len,
            position: row % axis_len,
            column: first % inner,
        }
    }

    /// Rounds the elements starting at `first_element` to values that codes stand for.
    ///
    /// # Errors
    ///
    /// [`CountMismatch`] when `parameters` does not have [`parameter_count`](Self::parameter_count) entries.
    pub fn fake_quantize_in_place(
        &self,
        first_element: u64,
        values: &mut [f64],
        parameters: AffineList<'_>,
        codes: CodeRange,
    ) -> Result<(), CountMismatch> {
        self.expect_count(parameters)?;
        self.each_quantizer(first_element, values, parameters, codes, Quantizer::fake_quantize_in_place);
        Ok(())
    }

    /// Turns the elements starting at `first_element` into the codes that they are rounded to.
    ///
    /// # Errors
    ///
    /// [`CountMismatch`] when `parameters` does not have [`parameter_count`](Self::parameter_count) entries.
    pub fn quantize_in_place(
        &self,
        first_element: u64,
        values: &mut [f64],
        parameters: AffineList<'_>,
        codes: CodeRange,
    ) -> Result<(), CountMismatch> {
        self.expect_count(parameters)?;
        self.each_quantizer(first_element, values, parameters, codes, Quantizer::quantize_in_place);
        Ok(())
    }

    /// Passes on each stretch of elements that share a quantizer, with the quantizer.
    fn each_quantizer(
        &self,
        first_element: u64,
        values: &mut [f64],
        parameters: AffineList<'_>,
        codes: CodeRange,
        apply: impl Fn(Quantizer, &mut [f64]),
    ) {
        let mut rest = values;
        for run in self.runs(first_element, rest.len()) {
            let (values, behind) = rest.split_at_mut(run.len);
            rest = behind;
            let quantizer = |index: usize| Some(Quantizer::new(parameters.get(index)?, codes));
            if run.advances {
                for (index, value) in values.iter_mut().enumerate() {
                    if let Some(quantizer) = quantizer(run.first_parameter + index) {
                        apply(quantizer, std::slice::from_mut(value));
                    }
                }
            } else if let Some(quantizer) = quantizer(run.first_parameter) {
                apply(quantizer, values);
            }
        }
    }

    /// Turns the codes of the elements starting at `first_element` into the values that they stand for.
    ///
    /// # Errors
    ///
    /// [`CountMismatch`] when `parameters` does not have [`parameter_count`](Self::parameter_count) entries.
    pub fn dequantize_in_place(
        &self,
        first_element: u64,
        codes: &mut [f64],
        parameters: AffineList<'_>,
    ) -> Result<(), CountMismatch> {
        self.expect_count(parameters)?;
        let mut rest = codes;
        for run in self.runs(first_element, rest.len()) {
            let (codes, behind) = rest.split_at_mut(run.len);
            rest = behind;
            let parameter = run.first_parameter;
            if !run.advances {
                if let Some(affine) = parameters.get(parameter) {
                    affine.dequantize_in_place(codes);
                }
                continue;
            }
            let scales = &parameters.scales()[parameter..parameter + run.len];
            match parameters.zero_points() {
                many if many.len() > 1 => {
                    let zero_points = &many[parameter..parameter + run.len];
                    for ((code, scale), zero_point) in codes.iter_mut().zip(scales).zip(zero_points) {
                        *code = scale * (*code - zero_point);
                    }
                }
                one_or_none => {
                    let zero_point = one_or_none.first().copied().unwrap_or_default();
                    for (code, scale) in codes.iter_mut().zip(scales) {
                        *code = scale * (*code - zero_point);
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that there are as many parameters as the tensor needs.
    ///
    /// # Errors
    ///
    /// [`CountMismatch`] when there are more or fewer.
    pub fn expect_count(&self, parameters: AffineList<'_>) -> Result<(), CountMismatch> {
        let (expected, found) = (self.parameter_count(), parameters.len() as u64);
        if expected == found { Ok(()) } else { Err(CountMismatch { expected, found }) }
    }
}

/// The runs over a stretch of elements; see [`ParameterMap::runs`].
#[derive(Clone, Debug)]
pub struct Runs {
    map: ParameterMap,
    next: u64,
    end: u64,
    /// Coordinates of the next element: before the axis, along it, after it.
    outer: u64,
    position: u64,
    column: u64,
}

impl Iterator for Runs {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let left = self.end - self.next;
        if left == 0 {
            return None;
        }
        let ParameterMap { inner, axis_len, kind, .. } = self.map;
        let (len, first_parameter, advances) = match kind {
            Kind::Tensor => (left, 0, false),
            // Along the last axis every element is the next channel.
            Kind::Channel if inner == 1 => (axis_len - self.position, self.position, true),
            Kind::Channel => (inner - self.column, self.position, false),
            Kind::Block { size, .. } => {
                let block = self.outer * axis_len.div_ceil(size) + self.position / size;
                if inner == 1 {
                    let block_end =
                        axis_len.min((self.position / size).saturating_add(1).saturating_mul(size));
                    (block_end - self.position, block, false)
                } else {
                    (inner - self.column, block * inner + self.column, true)
                }
            }
        };
        let len = len.min(left);
        let run = Run {
            first_element: self.next,
            len: usize::try_from(len).ok()?,
            first_parameter: usize::try_from(first_parameter).ok()?,
            advances: advances && len > 1,
        };
        self.next += len;
        if inner == 1 {
            self.position += len;
        } else {
            self.column += len;
            if self.column >= inner {
                self.column = 0;
                self.position += 1;
            }
        }
        if self.position >= axis_len {
            self.position = 0;
            self.outer += 1;
        }
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(shape: &[u64], granularity: Granularity) -> ParameterMap {
        ParameterMap::new(shape, granularity).unwrap()
    }

    fn indices(shape: &[u64], granularity: Granularity) -> Vec<usize> {
        let map = map(shape, granularity);
        (0..map.element_count()).filter_map(|element| map.parameter_of(element)).collect()
    }

    #[test]
    fn channels_of_each_axis() {
        assert_eq!(indices(&[2, 3], Granularity::PerTensor), [0; 6]);
        assert_eq!(indices(&[2, 3], Granularity::PerChannel { axis: 0 }), [0, 0, 0, 1, 1, 1]);
        assert_eq!(indices(&[2, 3], Granularity::PerChannel { axis: -1 }), [0, 1, 2, 0, 1, 2]);
        assert_eq!(indices(&[2, 2, 2], Granularity::PerChannel { axis: 1 }), [0, 0, 1, 1, 0, 0, 1, 1]);
    }

    /// `np.clip(np.rint(x / s), -8, 7)` with one scale per row, and with one per column.
    #[test]
    fn elements_become_the_codes_of_their_channels_scale() {
        let codes = CodeRange::new(-8, 7).unwrap();
        let scales = [0.5, 2.0];
        let list = AffineList::new(&scales, &[]).unwrap();
        for (axis, expected) in [(0, [2.0, -7.0, 2.0, -4.0]), (1, [2.0, -2.0, 7.0, -4.0])] {
            let mut values = [1.2, -3.3, 5.0, -9.0];
            let map = map(&[2, 2], Granularity::PerChannel { axis });
            map.quantize_in_place(0, &mut values, list, codes).unwrap();
            assert_eq!(values, expected, "axis {axis}");
        }
    }

    /// Like ONNX DequantizeLinear with `block_size` indexes its scale tensor.
    #[test]
    fn blocks_of_each_axis_in_the_order_of_the_scale_tensor() {
        let last = Granularity::PerBlock { axis: 1, block_size: 2 };
        assert_eq!(indices(&[2, 5], last), [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]);
        let first = Granularity::PerBlock { axis: 0, block_size: 2 };
        assert_eq!(indices(&[3, 2], first), [0, 1, 0, 1, 2, 3]);
        assert_eq!(map(&[3, 2], first).parameter_count(), 4);
    }

    #[test]
    fn what_has_no_such_axis_is_refused() {
        let refused = |shape: &[u64], granularity| ParameterMap::new(shape, granularity).unwrap_err();
        assert_eq!(
            refused(&[2], Granularity::PerChannel { axis: 1 }).to_string(),
            "axis 1 of a tensor with 1 dimensions"
        );
        assert!(matches!(
            refused(&[2], Granularity::PerChannel { axis: i64::MIN }),
            GranularityError::AxisOutOfRange { .. }
        ));
        assert_eq!(
            refused(&[2], Granularity::PerBlock { axis: 0, block_size: 0 }),
            GranularityError::EmptyBlock
        );
        assert_eq!(refused(&[u64::MAX, 2], Granularity::PerTensor), GranularityError::TooManyElements);
    }

    #[test]
    fn an_empty_tensor_has_no_runs() {
        for axis in [0, 1, 2] {
            let map = map(&[2, 0, 3], Granularity::PerChannel { axis });
            assert_eq!(map.runs(0, 10).count(), 0);
            assert_eq!(map.parameter_of(0), None);
        }
    }

    #[test]
    fn a_wrong_number_of_scales_is_refused() {
        let map = map(&[2, 2], Granularity::PerChannel { axis: 0 });
        let parameters = AffineList::new(&[1.0], &[]).unwrap();
        assert!(map.dequantize_in_place(0, &mut [1.0; 4], parameters).is_err());
    }
}
