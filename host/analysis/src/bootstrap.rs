//! The bootstrap for paired measurements: how far the ratio of two medians can be trusted when both were measured in the
//! same rounds.
//!
//! Rounds are drawn again with replacement, the same ones for both sides, and the interval ends at the percentiles of what
//! the draws give. Rounds that resemble their neighbors, as when the machine is slower for a while, would make it too narrow:
//! then blocks of consecutive rounds are drawn, which go round at the end (circular block bootstrap). Of many rounds the
//! blocks are long in any case, because a drift over seconds hides in correlations too weak to be seen. What changes more
//! slowly than the measurement takes, no resampling can know.
//!
//! Sources: B. Efron, R. Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13; D. Politis, H. White, *Automatic
//! block-length selection for the dependent bootstrap*, Econometric Reviews 23 (2004), with the correction of A. Patton,
//! D. Politis, H. White in 28 (2009).

use crate::proportion::Interval;
use crate::quantile::quantile;

/// How often the rounds are drawn again.
pub const RESAMPLES: usize = 2_000;

/// With fewer rounds, nothing can be said of their neighbors.
const FEW_ROUNDS: usize = 20;

/// So many blocks are enough for an interval: of more rounds, the blocks become longer.
const BLOCKS: usize = 20;

/// What a bootstrap of the ratio of medians gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioOfMedians {
    /// The candidate's median divided by the reference's.
    pub ratio: f64,
    /// Its percentile interval.
    pub interval: Interval,
    /// How many consecutive rounds were drawn together.
    pub block: usize,
}

/// The ratio of the medians of paired measurements, `candidate[i]` and `reference[i]` from the same round, with its
/// interval of this confidence. The same measurements give the same interval.
///
/// `None` for no rounds, for sides of different lengths, and for anything but positive numbers.
pub fn ratio_of_medians(reference: &[f64], candidate: &[f64], confidence: f64) -> Option<RatioOfMedians> {
    let block = block_length(&influence(reference, candidate)?).max(reference.len() / BLOCKS);
    drawn(reference, candidate, confidence, (block, RESAMPLES))
}

/// The same with so many draws, of blocks of this length.
fn drawn(
    reference: &[f64],
    candidate: &[f64],
    confidence: f64,
    (block, resamples): (usize, usize),
) -> Option<RatioOfMedians> {
    let are_times = |side: &[f64]| side.iter().all(|value| value.is_finite() && *value > 0.0);
    if reference.len() != candidate.len() || !are_times(reference) || !are_times(candidate) {
        return None;
    }
    let ratio = median(&mut candidate.to_vec())? / median(&mut reference.to_vec())?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut ratios: Vec<f64> = Draws::new(reference.len(), block)
        .take(resamples)
        .filter_map(|rounds| {
            ours.clear();
            theirs.clear();
            ours.extend(rounds.iter().map(|&round| reference[round]));
            theirs.extend(rounds.iter().map(|&round| candidate[round]));
            Some(median(&mut theirs)? / median(&mut ours)?)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    let interval = Interval { low: quantile(&ratios, tail)?, high: quantile(&ratios, 1.0 - tail)? };
    Some(RatioOfMedians { ratio, interval, block })
}

/// The middle value, or the mean of the two; changes the order.
fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_odd = values.len() % 2 == 1;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    let lower = if is_odd { upper } else { below.iter().copied().max_by(f64::total_cmp)? };
    Some(f64::midpoint(lower, upper))
}

/// How each round moves the ratio of the medians, to first order and up to a factor: whether the candidate was above its
/// median, minus whether the reference was.
fn influence(reference: &[f64], candidate: &[f64]) -> Option<Vec<f64>> {
    let (ours, theirs) = (median(&mut reference.to_vec())?, median(&mut candidate.to_vec())?);
    let side = |value: f64, median: f64| if value == median { 0.0 } else { (value - median).signum() };
    Some(
        reference
            .iter()
            .zip(candidate)
            .map(|(reference, candidate)| side(*candidate, theirs) - side(*reference, ours))
            .collect(),
    )
}

/// The length of blocks for the circular block bootstrap of the mean of `series`, by Politis and White; 1 for few or equal
/// values.
pub fn block_length(series: &[f64]) -> usize {
    let count = series.len();
    if count < FEW_ROUNDS {
        return 1;
    }
    let n = count as f64;
    let mean = series.iter().sum::<f64>() / n;
    let centred: Vec<f64> = series.iter().map(|value| value - mean).collect();
    let covariance = |lag: usize| {
        let products =
            centred.iter().zip(centred.get(lag..).unwrap_or_default()).map(|(one, other)| one * other);
        products.sum::<f64>() / n
    };
    // So many lags without a correlation show that there is none beyond.
    let quiet = 5.max(n.log10().sqrt().ceil() as usize);
    let most_lags = (n.sqrt().ceil() as usize + quiet).min(count - 1);
    let covariances: Vec<f64> = (0..=most_lags).map(covariance).collect();
    let variance = covariances[0];
    if variance <= 0.0 {
        return 1;
    }
    let noise = 2.0 * (n.log10() / n).sqrt();
    let is_quiet =
        |lag: &usize| covariances[lag + 1..=lag + quiet].iter().all(|at| at.abs() < noise * variance);
    let last = (0..=most_lags - quiet).find(is_quiet);
    let lags = match last {
        Some(0) => return 1,
        Some(last) => (2 * last).min(most_lags),
        None => most_lags,
    };
    let (mut spread, mut slope) = (variance, 0.0);
    for (lag, covariance) in covariances.iter().enumerate().take(lags + 1).skip(1) {
        let share = lag as f64 / lags as f64;
        let weight = if share <= 0.5 { 1.0 } else { 2.0 * (1.0 - share) };
        spread += 2.0 * weight * covariance;
        slope += 2.0 * weight * lag as f64 * covariance;
    }
    let longest = (3.0 * n.sqrt()).min(n / 3.0).ceil();
    let length = (1.5 * (slope / spread).powi(2) * n).cbrt();
    if length.is_finite() { length.clamp(1.0, longest).ceil() as usize } else { 1 }
}

/// Rounds that are drawn with replacement, in blocks of consecutive ones.
struct Draws {
    rounds: usize,
    block: usize,
    random: SplitMix,
}

impl Draws {
    fn new(rounds: usize, block: usize) -> Self {
        Self { rounds, block: block.max(1), random: SplitMix(SEED) }
    }
}

impl Iterator for Draws {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let mut drawn = Vec::with_capacity(self.rounds);
        while drawn.len() < self.rounds {
            let start = self.random.below(self.rounds);
            let length = self.block.min(self.rounds - drawn.len());
            drawn.extend((start..start + length).map(|round| round % self.rounds));
        }
        Some(drawn)
    }
}

/// Where all draws begin.
const SEED: u64 = 1;

/// The generator SplitMix64 (Steele, Lea, Flood, 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, from the high bits.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proportion::CONFIDENCE;

    fn uniform(count: usize, seed: u64) -> impl Iterator<Item = f64> {
        let mut random = SplitMix(seed);
        (0..count).map(move |_| random.below(1 << 32) as f64 / 2f64.powi(32))
    }

    /// The measurements of the script below.
    fn rounds(count: usize, drift: f64) -> (Vec<f64>, Vec<f64>) {
        let wave = |index: usize| 1.0 + drift * (index as f64 / 7.0).sin();
        (
            uniform(count, 2).map(|value| 1.0 + value * value).collect(),
            uniform(count, 3).enumerate().map(|(index, value)| (0.6 + 0.1 * value) * wave(index)).collect(),
        )
    }

    /// NumPy 2.4.6, with the same draws:
    ///
    /// ```python
    /// def below(end, state):
    ///     state[0] = (state[0] + 0x9E3779B97F4A7C15) % 2**64
    ///     x = (state[0] ^ (state[0] >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    ///     x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    ///     return ((x ^ (x >> 31)) * end) >> 64
    ///
    /// def uniform(count, seed):
    ///     state = [seed]
    ///     return np.array([below(2**32, state) for _ in range(count)]) / 2**32
    ///
    /// def interval(reference, candidate, block, state):
    ///     n, ratios = len(reference), []
    ///     for _ in range(2000):
    ///         starts = [below(n, state) for _ in range(-(-n // block))]
    ///         drawn = np.concatenate([np.arange(start, start + block) for start in starts])[:n] % n
    ///         ratios.append(np.median(candidate[drawn]) / np.median(reference[drawn]))
    ///     return np.quantile(ratios, [0.025, 0.975])
    ///
    /// for count, drift in [(10, 0), (40, 0), (41, 0), (400, 0.3)]:
    ///     reference = 1 + uniform(count, 2) ** 2
    ///     candidate = (0.6 + 0.1 * uniform(count, 3)) * (1 + drift * np.sin(np.arange(count) / 7))
    /// ```
    const NUMPY: [(usize, f64, usize, f64, f64, f64); 4] = [
        (10, 0.0, 1, 0.4546264914826721, 0.4013815262286495, 0.5796191363960006),
        (40, 0.0, 2, 0.5769859439095517, 0.4879318789929981, 0.5929882929526631),
        (41, 0.0, 2, 0.5752870337491345, 0.47968895253494204, 0.5924420925096878),
        (400, 0.3, 20, 0.5337213662955806, 0.4735033591820751, 0.5995066181464366),
    ];

    #[test]
    fn intervals_are_those_of_numpy_with_the_same_draws() {
        for (count, drift, block, ratio, low, high) in NUMPY {
            let (reference, candidate) = rounds(count, drift);
            let found = ratio_of_medians(&reference, &candidate, CONFIDENCE).unwrap();
            assert_eq!(found.block, block, "{count} rounds");
            for (found, expected) in
                [(found.ratio, ratio), (found.interval.low, low), (found.interval.high, high)]
            {
                assert!((found - expected).abs() <= 1e-12, "{count} rounds: {found} {expected}");
            }
        }
    }

    /// The share of intervals of a model against itself that hold 1. The noise of a run remembers that of the run in the
    /// round before; `block` is the length of blocks, if not the one that is chosen.
    fn holding(simulations: u64, count: usize, memory: f64, block: Option<usize>) -> f64 {
        let mut random = SplitMix(7);
        let mut noise = || (0..12).map(|_| random.next() as f64 / 2f64.powi(64)).sum::<f64>() - 6.0;
        let fresh = (1.0 - memory * memory).sqrt();
        let holding = (0..simulations).filter(|_| {
            let mut levels = [noise(), noise()];
            let mut sides = [Vec::new(), Vec::new()];
            for _ in 0..count {
                for (level, side) in levels.iter_mut().zip(&mut sides) {
                    *level = memory * *level + fresh * noise();
                    side.push((0.05 * *level).exp());
                }
            }
            let [ours, theirs] = &sides;
            let block =
                block.unwrap_or_else(|| block_length(&influence(ours, theirs).unwrap()).max(count / BLOCKS));
            let Interval { low, high } = drawn(ours, theirs, CONFIDENCE, (block, 400)).unwrap().interval;
            (low..=high).contains(&1.0)
        });
        holding.count() as f64 / simulations as f64
    }

    #[test]
    fn an_interval_of_a_model_against_itself_holds_1_in_about_95_of_100() {
        // The standard deviation of such a share is 1.1 of 100.
        let share = holding(400, 40, 0.0, None);
        assert!((0.92..=0.985).contains(&share), "{share}");
    }

    /// Blocks are right only for very many rounds, yet far better than single rounds.
    #[test]
    fn rounds_that_resemble_their_neighbors_are_drawn_in_blocks() {
        let (chosen, single) = (holding(200, 100, 0.7, None), holding(200, 100, 0.7, Some(1)));
        assert!(chosen >= 0.85 && single <= 0.75, "{chosen} {single}");
    }

    #[test]
    fn few_and_equal_rounds_are_drawn_one_by_one() {
        assert_eq!((block_length(&[1.0; 100]), block_length(&[1.0, 2.0, 3.0]), block_length(&[])), (1, 1, 1));
    }

    #[test]
    fn a_model_of_constant_time_has_an_interval_of_one_point() {
        let found = ratio_of_medians(&[2.0; 5], &[1.0; 5], CONFIDENCE).unwrap();
        assert_eq!((found.ratio, found.interval), (0.5, Interval { low: 0.5, high: 0.5 }));
    }

    #[test]
    fn what_is_no_time_has_no_ratio() {
        for (reference, candidate) in
            [(vec![], vec![]), (vec![1.0], vec![]), (vec![0.0], vec![1.0]), (vec![1.0], vec![f64::NAN])]
        {
            assert_eq!(ratio_of_medians(&reference, &candidate, CONFIDENCE), None);
        }
    }
}
