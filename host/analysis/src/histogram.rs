//! Histograms with the bins and counts of NumPy.

use crate::params::Affine;
use qp_elements::ElementType;
use std::fmt;

/// The type in which NumPy computes the edges of an array's bins: that of the array, `float64` for integers.
///
/// Edges of a `float32` array are `float32` numbers, and a value near an edge may fall on the other side of the
/// `float64` one. Counts follow the edges. NumPy's do too, except for `float16` arrays in a few hundred bins or more,
/// where its estimate of the bin is off by more than it corrects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EdgePrecision {
    /// `float16`.
    Float16,
    /// `float32`.
    Float32,
    /// `float64`.
    #[default]
    Float64,
}

impl EdgePrecision {
    /// The one that NumPy takes for arrays of this type; `float64` for the types that NumPy lacks.
    pub fn of(element: ElementType) -> Self {
        match element {
            ElementType::Float16 => Self::Float16,
            ElementType::Float32 => Self::Float32,
            _ => Self::Float64,
        }
    }

    /// The nearest number of this type. One operation in `f64` on numbers of a type, rounded to it, equals the
    /// operation in that type: `f64` has more than twice the digits.
    fn round(self, value: f64) -> f64 {
        match self {
            Self::Float16 => f64::from(half::f16::from_f64(value)),
            Self::Float32 => f64::from(value as f32),
            Self::Float64 => value,
        }
    }
}

/// Why these bins cannot be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BinsError {
    /// No bins, or more than [`Bins::MAX_COUNT`].
    Count(usize),
    /// The range is not finite, or its ends are in the wrong order, or their distance overflows.
    Range {
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
    },
    /// The range has too few distinct numbers for this many bins.
    TooNarrow {
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
        /// How many bins were asked for.
        count: usize,
    },
}

impl fmt::Display for BinsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count} bins: the number must be from 1 to {}", Bins::MAX_COUNT),
            Self::Range { low, high } => write!(f, "no bins from {low} to {high}"),
            Self::TooNarrow { low, high, count } => {
                write!(f, "too few distinct numbers from {low} to {high} for {count} bins")
            }
        }
    }
}

impl std::error::Error for BinsError {}

/// Equal bins over a range, with the edges that NumPy computes. All but the last are half-open: a value on an edge
/// belongs to the bin on its right, one on the very last edge to the last bin.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    edges: Vec<f64>,
    low: f64,
    high: f64,
    /// Bins per unit; may be infinite for ranges of subnormal width.
    per_unit: f64,
}

impl Bins {
    /// The most bins there can be.
    pub const MAX_COUNT: usize = 1 << 24;

    /// The bins of `np.histogram(x, bins=count, range=(low, high))`, `low` and `high` being Python floats and
    /// `precision` that of x. Equal ends are moved apart by 0.5 each.
    ///
    /// # Errors
    ///
    /// [`BinsError`] where NumPy raises: no bins, ends that are infinite, NaN or in the wrong order, and more bins
    /// than there are numbers.
    pub fn over(low: f64, high: f64, count: usize, precision: EdgePrecision) -> Result<Self, BinsError> {
        let (low, high) = if low == high { (low - 0.5, high + 0.5) } else { (low, high) };
        // NumPy computes these edges in float64 and casts them; only the ends are compared after the cast.
        let edges = equal_edges(low, high, count, EdgePrecision::Float64)?;
        let edges = edges.into_iter().map(|edge| precision.round(edge)).collect();
        Self::from_edges(edges, precision.round(low), precision.round(high), count)
    }

    /// The bins of `np.histogram(x, bins=count)`, `min` and `max` being the extremes of x and `precision` its
    /// type; `np.histogram(x, bins=count, range=(y.min(), y.max()))` with y of the same type are the same.
    /// Equal ends are moved apart by 0.5 each.
    ///
    /// # Errors
    ///
    /// As [`over`](Self::over).
    pub fn of_extremes(
        min: f64,
        max: f64,
        count: usize,
        precision: EdgePrecision,
    ) -> Result<Self, BinsError> {
        let (low, high) =
            if min == max { (precision.round(min - 0.5), precision.round(max + 0.5)) } else { (min, max) };
        let edges = equal_edges(low, high, count, precision)?;
        Self::from_edges(edges, low, high, count)
    }

    fn from_edges(edges: Vec<f64>, low: f64, high: f64, count: usize) -> Result<Self, BinsError> {
        // Written so that NaN fails, too.
        if !edges.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(BinsError::TooNarrow { low, high, count });
        }
        let per_unit = count as f64 / (high - low);
        Ok(Self { edges, low, high, per_unit })
    }

    /// How many bins there are.
    pub fn count(&self) -> usize {
        self.edges.len() - 1
    }

    /// The edges, one more than there are bins, ascending.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// The lower and the upper edge of this bin; `None` beyond the last.
    pub fn bounds(&self, index: usize) -> Option<(f64, f64)> {
        Some((*self.edges.get(index)?, *self.edges.get(index + 1)?))
    }

    /// The bin that `value` falls into; `None` for NaN and for values outside the range.
    pub fn index_of(&self, value: f64) -> Option<usize> {
        (self.low <= value && value <= self.high).then(|| self.index_inside(value))
    }

    /// The bin of a value inside the range.
    #[inline(always)]
    fn index_inside(&self, value: f64) -> usize {
        let last = self.edges.len() - 2;
        // A first estimate. Where the product is NaN or too large the casts make it 0 or the last bin.
        let mut index = (((value - self.low) * self.per_unit) as i64 as usize).min(last);
        // The edges decide; the estimate is off by one at most, except for ranges of a few ulps.
        while index > 0 && value < self.edges[index] {
            index -= 1;
        }
        while index < last && value >= self.edges[index + 1] {
            index += 1;
        }
        index
    }
}

/// `numpy.linspace(low, high, count + 1)`, computed in `precision`.
fn equal_edges(low: f64, high: f64, count: usize, precision: EdgePrecision) -> Result<Vec<f64>, BinsError> {
    if count == 0 || count > Bins::MAX_COUNT {
        return Err(BinsError::Count(count));
    }
    let width = precision.round(high - low);
    if !low.is_finite() || !high.is_finite() || low > high || !width.is_finite() {
        return Err(BinsError::Range { low, high });
    }
    let round = |value: f64| precision.round(value);
    let bins = count as f64;
    let step = round(width / bins);
    let offset = |index: usize| {
        let index = round(index as f64);
        if step == 0.0 { round(round(index / bins) * width) } else { round(index * step) }
    };
    let mut edges: Vec<f64> = (0..=count).map(|index| round(offset(index) + low)).collect();
    edges[count] = high;
    Ok(edges)
}

/// How many values fall into each bin, and how many into none.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bins: Bins,
    counts: Vec<u64>,
    below: u64,
    above: u64,
    nan_count: u64,
    positive_infinity_count: u64,
    negative_infinity_count: u64,
}

impl Histogram {
    /// With no values yet.
    pub fn new(bins: Bins) -> Self {
        Self {
            counts: vec![0; bins.count()],
            bins,
            below: 0,
            above: 0,
            nan_count: 0,
            positive_infinity_count: 0,
            negative_infinity_count: 0,
        }
    }

    /// Adds `values`.
    pub fn add(&mut self, values: &[f64]) {
        for &value in values {
            if self.bins.low <= value && value <= self.bins.high {
                self.counts[self.bins.index_inside(value)] += 1;
            } else {
                self.add_outside(value, 1);
            }
        }
    }

    /// Adds the first `count` elements of `bytes`. Returns how many there were: fewer than `count` when `bytes` ends
    /// early.
    pub fn add_elements(&mut self, element: ElementType, bytes: &[u8], count: usize) -> usize {
        self.add_quantized(element, bytes, count, Affine::IDENTITY)
    }

    /// Adds the dequantized values, scale · (q − zero_point), of the first `count` codes q of `bytes`. Returns how
    /// many there were: fewer than `count` when `bytes` ends early.
    pub fn add_quantized(
        &mut self,
        element: ElementType,
        bytes: &[u8],
        count: usize,
        affine: Affine,
    ) -> usize {
        let available = count.min(element.elements_in(bytes.len()));
        let mut counted = 0;
        if let Some(codes) = element.count_codes(bytes, available) {
            counted = codes.elements;
            for (code, count) in codes.values {
                self.add_repeated(affine.dequantize(code), count);
            }
        }
        let rest = &bytes[element.packed_bytes(counted).min(bytes.len())..];
        let is_identity = affine == Affine::IDENTITY;
        counted
            + element.for_each_block(rest, available - counted, |values| {
                if !is_identity {
                    affine.dequantize_in_place(values);
                }
                self.add(values);
            })
    }

    /// Adds `value` `count` times.
    pub fn add_repeated(&mut self, value: f64, count: u64) {
        match self.bins.index_of(value) {
            Some(index) => self.counts[index] += count,
            None => self.add_outside(value, count),
        }
    }

    /// Adds the counts of `other`; returns `None`, and adds nothing, when its bins differ.
    pub fn merge(&mut self, other: &Self) -> Option<()> {
        if self.bins != other.bins {
            return None;
        }
        for (count, other_count) in self.counts.iter_mut().zip(&other.counts) {
            *count += other_count;
        }
        self.below += other.below;
        self.above += other.above;
        self.nan_count += other.nan_count;
        self.positive_infinity_count += other.positive_infinity_count;
        self.negative_infinity_count += other.negative_infinity_count;
        Some(())
    }

    /// The bins.
    pub fn bins(&self) -> &Bins {
        &self.bins
    }

    /// The number of values in each bin.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The number of values in all bins together.
    pub fn inside(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The number of all values, including those in no bin.
    pub fn count(&self) -> u64 {
        self.inside()
            + self.below
            + self.above
            + self.nan_count
            + self.positive_infinity_count
            + self.negative_infinity_count
    }

    /// The number of finite values below the first bin.
    pub fn below(&self) -> u64 {
        self.below
    }

    /// The number of finite values above the last bin.
    pub fn above(&self) -> u64 {
        self.above
    }

    /// The number of values that are NaN.
    pub fn nan_count(&self) -> u64 {
        self.nan_count
    }

    /// The number of values that are +∞.
    pub fn positive_infinity_count(&self) -> u64 {
        self.positive_infinity_count
    }

    /// The number of values that are −∞.
    pub fn negative_infinity_count(&self) -> u64 {
        self.negative_infinity_count
    }

    #[cold]
    fn add_outside(&mut self, value: f64, count: u64) {
        let counter = if value.is_nan() {
            &mut self.nan_count
        } else if value == f64::INFINITY {
            &mut self.positive_infinity_count
        } else if value == f64::NEG_INFINITY {
            &mut self.negative_infinity_count
        } else if value < self.bins.low {
            &mut self.below
        } else {
            &mut self.above
        };
        *counter += count;
    }
}
