//! Which bin a value falls into.

/// With more bins than this, [`ROUNDER`] has no digits left for the bin.
const MOST_EXACT_BINS: usize = 1 << 22;

/// 2^23: adding it to a positive number below 2^22 rounds that to the nearest whole number, which is then the last
/// bits of the sum.
const ROUNDER: f32 = 8_388_608.0;

/// Finds bins by their edges, half-open except for the last, as NumPy does.
///
/// Rounding (value − low) · bins / width to the nearest whole number k gives the edge next to the value, and one
/// comparison with it the bin: k, or k − 1 below it. When the bins are made, every edge is checked for that; if the
/// check fails (a different width further on, or too few digits), a table of guesses and a walk take over.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Locator {
    edges: Vec<f32>,
    /// The edges, with infinity for the last.
    walls: Vec<f32>,
    per_unit: f32,
    /// The bin at the beginning of each of as many equal parts of the range; empty if the comparison is enough.
    guesses: Vec<u32>,
}

impl Locator {
    /// For these ascending edges, at least two.
    pub(super) fn new(edges: Vec<f32>) -> Self {
        let (low, last) = (edges[0], edges.len() - 1);
        let per_unit = last as f32 / (edges[last] - low);
        let mut walls = edges.clone();
        walls[last] = f32::INFINITY;
        let mut locator = Self { edges, walls, per_unit, guesses: Vec::new() };
        if !locator.is_uniform() {
            locator.guesses = (0..2 * last)
                .map(|part| {
                    let start = low + part as f32 / (2.0 * per_unit);
                    locator.edges.partition_point(|edge| *edge <= start).clamp(1, last) as u32 - 1
                })
                .collect();
        }
        locator
    }

    /// The estimate never falls with the value, so the first and the last value of each bin decide for all of it.
    fn is_uniform(&self) -> bool {
        let bins = self.edges.len() - 1;
        bins < MOST_EXACT_BINS
            && self.per_unit.is_finite()
            && self.edges.windows(2).enumerate().all(|(bin, pair)| {
                let last = if bin + 1 == bins { pair[1] } else { pair[1].next_down() };
                pair[0] < pair[1] && self.nearest_edge(pair[0]) >= bin && self.nearest_edge(last) <= bin + 1
            })
    }

    /// The index of the edge next to a value inside the range.
    #[inline(always)]
    fn nearest_edge(&self, value: f32) -> usize {
        (((value - self.edges[0]) * self.per_unit + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()))
            as usize
    }

    /// The edges, one more than there are bins.
    pub(super) fn edges(&self) -> &[f32] {
        &self.edges
    }

    /// Counts the values inside the range into `lanes`, whose sum are the counts. All lanes have a counter for each
    /// bin.
    pub(super) fn count(&self, values: &[f32], lanes: &mut [Vec<u32>; 4]) {
        if self.guesses.is_empty() {
            self.count_uniform(values, lanes)
        } else {
            self.count_any(values, lanes)
        }
    }

    fn count_uniform(&self, values: &[f32], lanes: &mut [Vec<u32>; 4]) {
        let bins = self.edges.len() - 1;
        let (low, high, per_unit) = (self.edges[0], self.edges[bins], self.per_unit);
        let walls = &self.walls[..=bins];
        let [first, second, third, fourth] = lanes;
        let (first, second) = (&mut first[..bins], &mut second[..bins]);
        let (third, fourth) = (&mut third[..bins], &mut fourth[..bins]);
        let mut nearest = [0u32; 256];
        for block in values.chunks(nearest.len()) {
            let is_inside = block.iter().fold(true, |all, value| all & (*value >= low) & (*value <= high));
            if !is_inside {
                let mut inside = block.iter().filter(|value| **value >= low && **value <= high);
                inside.by_ref().for_each(|value| {
                    let nearest = self.nearest_edge(*value);
                    first[nearest - usize::from(*value < walls[nearest])] += 1;
                });
                continue;
            }
            for (nearest, value) in nearest.iter_mut().zip(block) {
                let sum = (value - low) * per_unit + ROUNDER;
                *nearest = sum.to_bits().wrapping_sub(ROUNDER.to_bits());
            }
            let bin = |offset: usize| {
                let nearest = nearest[offset] as usize;
                nearest - usize::from(block[offset] < walls[nearest])
            };
            let whole = block.len() - block.len() % 4;
            for offset in (0..whole).step_by(4) {
                first[bin(offset)] += 1;
                second[bin(offset + 1)] += 1;
                third[bin(offset + 2)] += 1;
                fourth[bin(offset + 3)] += 1;
            }
            for offset in whole..block.len() {
                first[bin(offset)] += 1;
            }
        }
    }

    fn count_any(&self, values: &[f32], lanes: &mut [Vec<u32>; 4]) {
        let last = self.edges.len() - 2;
        let (low, high) = (self.edges[0], self.edges[last + 1]);
        let counts = &mut lanes[0];
        for &value in values.iter().filter(|value| **value >= low && **value <= high) {
            let part = (((value - low) * self.per_unit * 2.0) as usize).min(self.guesses.len() - 1);
            let mut bin = self.guesses[part] as usize;
            while bin > 0 && value < self.edges[bin] {
                bin -= 1;
            }
            while bin < last && value >= self.edges[bin + 1] {
                bin += 1;
            }
            counts[bin] += 1;
        }
    }
}
