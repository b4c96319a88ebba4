//! One pass over a block of numbers, several at a time.
//!
//! The loops over whole groups are separate functions that return one number per lane: if the lanes are joined in the
//! same function, the compiler puts the wrong ones next to each other and leaves most of the loop scalar.

use std::ops::AddAssign;

const LANES: usize = 4;

/// A number of a block, in the form in which it is stored.
pub(super) trait Element: Copy {
    /// The type to compute with where rounding cannot happen.
    type Real: Real;

    fn real(self) -> Self::Real;
}

impl Element for f64 {
    type Real = f64;

    #[inline(always)]
    fn real(self) -> f64 {
        self
    }
}

/// The little-endian bytes of a `float32`.
impl Element for [u8; 4] {
    type Real = f32;

    #[inline(always)]
    fn real(self) -> f32 {
        f32::from_le_bytes(self)
    }
}

/// `f32` or `f64`.
pub(super) trait Real: Copy + PartialOrd + Into<f64> {
    const ZERO: Self;
    const INFINITY: Self;
    const NEG_INFINITY: Self;
    /// The type that counts a lane's numbers: as wide as a number, so that both fill vectors the same way.
    type Count: Copy + Default + AddAssign + Into<f64>;

    /// 1 or 0.
    fn count(is_counted: bool) -> Self::Count;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const INFINITY: Self = Self::INFINITY;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;
    type Count = u32;

    #[inline(always)]
    fn count(is_counted: bool) -> u32 {
        u32::from(is_counted)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const INFINITY: Self = Self::INFINITY;
    const NEG_INFINITY: Self = Self::NEG_INFINITY;
    type Count = f64;

    #[inline(always)]
    fn count(is_counted: bool) -> f64 {
        if is_counted { 1.0 } else { 0.0 }
    }
}

/// What a first pass finds out about a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survey {
    pub(super) zero_count: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// Not finite if any value is not.
    pub(super) sum: f64,
}

/// Count of zeros, minimum, maximum and sum of at most a block's numbers in one pass.
pub(super) fn survey<E: Element>(values: &[E]) -> Survey {
    let (groups, rest) = values.as_chunks();
    let mut lanes = survey_groups(groups);
    for value in rest {
        lanes.add(0, value.real());
    }
    Survey {
        zero_count: lanes.zeros.into_iter().map(Into::into).sum::<f64>() as u64,
        min: lanes.min.into_iter().map(Into::into).fold(f64::INFINITY, f64::min),
        max: lanes.max.into_iter().map(Into::into).fold(f64::NEG_INFINITY, f64::max),
        sum: joined(lanes.sum),
    }
}

/// Σ(x − mean) and Σ(x − mean)².
pub(super) fn deviations<E: Element>(values: &[E], mean: f64) -> (f64, f64) {
    let (groups, rest) = values.as_chunks();
    let mut lanes = deviations_of_groups(groups, mean);
    for value in rest {
        lanes.add(0, value.real().into() - mean);
    }
    (joined(lanes.sum), joined(lanes.squares))
}

struct SurveyLanes<R: Real> {
    zeros: [R::Count; LANES],
    min: [R; LANES],
    max: [R; LANES],
    sum: [f64; LANES],
}

impl<R: Real> SurveyLanes<R> {
    #[inline(always)]
    fn add(&mut self, lane: usize, value: R) {
        self.zeros[lane] += R::count(value == R::ZERO);
        // One instruction each, whereas `f64::min` has to handle NaN.
        self.min[lane] = if value < self.min[lane] { value } else { self.min[lane] };
        self.max[lane] = if value > self.max[lane] { value } else { self.max[lane] };
        self.sum[lane] += value.into();
    }
}

#[inline(never)]
fn survey_groups<E: Element>(groups: &[[E; LANES]]) -> SurveyLanes<E::Real> {
    let mut lanes = SurveyLanes {
        zeros: [Default::default(); LANES],
        min: [E::Real::INFINITY; LANES],
        max: [E::Real::NEG_INFINITY; LANES],
        sum: [0.0; LANES],
    };
    for group in groups {
        for (lane, value) in group.iter().enumerate() {
            lanes.add(lane, value.real());
        }
    }
    lanes
}

struct DeviationLanes {
    sum: [f64; LANES],
    squares: [f64; LANES],
}

impl DeviationLanes {
    #[inline(always)]
    fn add(&mut self, lane: usize, deviation: f64) {
        self.sum[lane] += deviation;
        self.squares[lane] += deviation * deviation;
    }
}

#[inline(never)]
fn deviations_of_groups<E: Element>(groups: &[[E; LANES]], mean: f64) -> DeviationLanes {
    let mut lanes = DeviationLanes { sum: [0.0; LANES], squares: [0.0; LANES] };
    for group in groups {
        for (lane, value) in group.iter().enumerate() {
            lanes.add(lane, value.real().into() - mean);
        }
    }
    lanes
}

fn joined(lanes: [f64; LANES]) -> f64 {
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}
