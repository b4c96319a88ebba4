//! Counts of successes: intervals for one proportion and for the difference of two that share their samples, the
//! exact test of their equality, and the verdict that follows.
//!
//! Sources: E. B. Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 22 (1927);
//! Q. McNemar, *Note on the sampling error of the difference between correlated proportions*, Psychometrika 12 (1947), in
//! its exact form; T. Tango, *Equivalence test and confidence interval for the difference in proportions for the
//! paired-sample design*, Statistics in Medicine 17 (1998).

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

/// A range of values that the data support.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The quantile of the standard normal distribution that a two-sided interval of this confidence ends at: 1.96 for
/// 0.95.
pub fn normal_quantile(confidence: f64) -> f64 {
    Normal::standard().inverse_cdf(0.5 + confidence.clamp(0.0, 1.0) / 2.0)
}

/// Wilson's score interval for the share of `successes` among `samples`; `None` without samples.
pub fn wilson(successes: u64, samples: u64, confidence: f64) -> Option<Interval> {
    if samples == 0 {
        return None;
    }
    let n = samples as f64;
    let (share, z) = (successes as f64 / n, normal_quantile(confidence));
    let centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    // Where none or all succeed, an end is exactly there.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes >= samples { 1.0 } else { (centre + half).min(1.0) };
    Some(Interval { low, high })
}

/// How two classifiers do on the same samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paired {
    /// Samples that both have classified.
    pub samples: u64,
    /// Samples that only the reference classifies correctly: harmful flips.
    pub only_reference: u64,
    /// Samples that only the candidate classifies correctly: helpful flips.
    pub only_candidate: u64,
}

/// What paired samples say about a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The difference is within the margin, whatever the rest of the world looks like: both one-sided tests at 5 %.
    Same,
    /// Less accurate than the reference, by McNemar's exact test at 5 %.
    Worse,
    /// More accurate than the reference, likewise.
    Better,
    /// The samples do not tell.
    Undecided,
}

impl Verdict {
    /// All of them, as texts.
    pub const TEXTS: [&'static str; 4] = ["same", "worse", "better", "undecided"];

    /// One word.
    pub fn text(self) -> &'static str {
        Self::TEXTS[self as usize]
    }
}

/// The confidence of intervals that are shown, and of the test of a difference: two-sided, 5 % of error.
pub const CONFIDENCE: f64 = 0.95;

/// The confidence of the interval that must lie within the margin: two one-sided tests of 5 % each.
pub const EQUIVALENCE_CONFIDENCE: f64 = 0.9;

/// A larger number of samples is not proposed.
const MOST_SAMPLES: f64 = 1e9;

impl Paired {
    /// The candidate's accuracy minus the reference's; 0 without samples.
    pub fn difference(&self) -> f64 {
        (self.only_candidate as f64 - self.only_reference as f64) / self.samples.max(1) as f64
    }

    /// The two-sided p-value of McNemar's exact test: how likely counts at least this unequal are if both classifiers
    /// are equally accurate.
    pub fn mcnemar(&self) -> f64 {
        mcnemar(self.only_reference, self.only_candidate)
    }

    /// Tango's score interval for [`Self::difference`]; `None` without samples.
    pub fn difference_interval(&self, confidence: f64) -> Option<Interval> {
        (self.samples > 0).then(|| Counts::of(self).interval(normal_quantile(confidence)))
    }

    /// What the samples say, where a difference of at most `margin` does not matter.
    pub fn verdict(&self, margin: f64) -> Verdict {
        if self.samples == 0 { Verdict::Undecided } else { Counts::of(self).verdict(margin) }
    }

    /// How many more samples would decide it if they were like these; `None` if it is decided, or if no number that can
    /// be had would do.
    pub fn missing_samples(&self, margin: f64) -> Option<u64> {
        if self.samples == 0 || self.verdict(margin) != Verdict::Undecided {
            return None;
        }
        let counts = Counts::of(self);
        let is_decided =
            |samples: f64| counts.scaled(samples / counts.samples).verdict(margin) != Verdict::Undecided;
        let mut enough = counts.samples;
        while !is_decided(enough) {
            enough *= 2.0;
            if enough > MOST_SAMPLES {
                return None;
            }
        }
        let mut too_few = enough / 2.0;
        while enough - too_few > 1.0 {
            let middle = f64::midpoint(enough, too_few);
            if is_decided(middle) { enough = middle } else { too_few = middle }
        }
        Some((enough.ceil() as u64).saturating_sub(self.samples).max(1))
    }
}

fn mcnemar(one: u64, other: u64) -> f64 {
    // Half of the distribution, and half of the other.
    if one.abs_diff(other) <= 1 {
        return 1.0;
    }
    let binomial = Binomial::new(0.5, one.saturating_add(other));
    binomial.map_or(1.0, |binomial| (2.0 * binomial.cdf(one.min(other))).min(1.0))
}

/// As [`Paired`], also for numbers of samples that nobody has counted.
#[derive(Clone, Copy, Debug)]
struct Counts {
    samples: f64,
    only_reference: f64,
    only_candidate: f64,
}

impl Counts {
    fn of(paired: &Paired) -> Self {
        Self {
            samples: paired.samples as f64,
            only_reference: paired.only_reference as f64,
            only_candidate: paired.only_candidate as f64,
        }
    }

    fn scaled(&self, factor: f64) -> Self {
        Self {
            samples: self.samples * factor,
            only_reference: self.only_reference * factor,
            only_candidate: self.only_candidate * factor,
        }
    }

    /// Tango's score statistic for the hypothesis that the true difference is `difference`; standard normal if it is.
    fn score(&self, difference: f64) -> f64 {
        let Self { samples, only_reference, only_candidate } = *self;
        // The most likely share of samples that only the reference classifies correctly, given the difference.
        let b =
            (2.0 * samples - only_candidate + only_reference) * difference - only_candidate - only_reference;
        let c = -only_reference * difference * (1.0 - difference);
        let share = ((b * b - 8.0 * samples * c).max(0.0).sqrt() - b) / (4.0 * samples);
        let variance = samples * (2.0 * share + difference * (1.0 - difference));
        let distance = only_candidate - only_reference - samples * difference;
        if distance == 0.0 {
            0.0
        } else if variance > 0.0 {
            distance / variance.sqrt()
        } else {
            distance.signum() * f64::INFINITY
        }
    }

    /// All differences whose score is within `±z`: the score falls as the difference grows.
    fn interval(&self, z: f64) -> Interval {
        let end = |goal: f64| {
            let (mut low, mut high) = (-1.0_f64, 1.0_f64);
            // Each step halves the distance: after 60, nothing is left of it.
            for _ in 0..60 {
                let middle = f64::midpoint(low, high);
                if self.score(middle) > goal { low = middle } else { high = middle }
            }
            f64::midpoint(low, high)
        };
        Interval { low: end(z), high: end(-z) }
    }

    fn verdict(&self, margin: f64) -> Verdict {
        let within = self.interval(normal_quantile(EQUIVALENCE_CONFIDENCE));
        if within.low > -margin && within.high < margin {
            return Verdict::Same;
        }
        // The same test that is reported: the score interval alone would be a little less careful.
        let p = mcnemar(self.only_reference.round() as u64, self.only_candidate.round() as u64);
        if p >= 1.0 - CONFIDENCE {
            Verdict::Undecided
        } else if self.only_reference > self.only_candidate {
            Verdict::Worse
        } else {
            Verdict::Better
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WILSON: [(u64, u64, f64, f64, f64); 6] = [
        (537, 540, 0.95, 0.9837949607991756, 0.998108848369704),
        (0, 10, 0.95, 0.0, 0.2775327998628892),
        (10, 10, 0.95, 0.7224672001371107, 0.9999999999999999),
        (1, 3, 0.9, 0.07826572633372836, 0.746466131718776),
        (7612, 10000, 0.99, 0.7500470314552853, 0.7720065913639552),
        (49, 54, 0.95, 0.8009011740903732, 0.9597988652429706),
    ];
    const MCNEMAR: [(u64, u64, f64); 6] = [
        (3, 1, 0.625),
        (5, 5, 1.0),
        (0, 0, 1.0),
        (12, 2, 0.012939453125),
        (40, 75, 0.001412957498607674),
        (900, 1000, 0.023108845108901193),
    ];
    const TANGO: [(u64, u64, u64, f64, f64, f64); 6] = [
        (540, 8, 4, 0.95, -0.022490339246140623, 0.006005769405439066),
        (540, 0, 0, 0.9, -0.004985288038290068, 0.004985288038290068),
        (10000, 20, 25, 0.9, -0.000621501873015523, 0.0016494717891916842),
        (54, 2, 12, 0.95, 0.05670877560251208, 0.3217294994655073),
        (44, 0, 1, 0.95, -0.05939323111662794, 0.11807709698213287),
        (1000, 50, 0, 0.95, -0.06531382024425099, -0.038130262392748804),
    ];

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    /// statsmodels 0.14: `proportion_confint(k, n, alpha, method="wilson")`.
    #[test]
    fn wilsons_interval_is_that_of_statsmodels() {
        for (successes, samples, confidence, low, high) in WILSON {
            let found = wilson(successes, samples, confidence).unwrap();
            close(found.low, low);
            close(found.high, high);
        }
        assert_eq!(wilson(0, 0, 0.95), None);
    }

    /// SciPy 1.17: `binomtest(min(b, c), b + c).pvalue`.
    #[test]
    fn mcnemars_test_is_the_binomial_test_of_scipy() {
        for (only_reference, only_candidate, p) in MCNEMAR {
            let paired = Paired { samples: 100_000, only_reference, only_candidate };
            let found = paired.mcnemar();
            assert!((found - p).abs() <= 1e-9 * p.max(1e-3), "{found} {p}");
        }
    }

    /// The roots of Tango's equation, found with SciPy's `brentq` at 1e-15.
    #[test]
    fn tangos_interval_holds_the_differences_whose_score_is_small() {
        for (samples, only_reference, only_candidate, confidence, low, high) in TANGO {
            let paired = Paired { samples, only_reference, only_candidate };
            let found = paired.difference_interval(confidence).unwrap();
            close(found.low, low);
            close(found.high, high);
        }
    }

    #[test]
    fn a_verdict_needs_samples() {
        let verdict = |samples, only_reference, only_candidate| {
            Paired { samples, only_reference, only_candidate }.verdict(0.01)
        };
        assert_eq!(verdict(0, 0, 0), Verdict::Undecided);
        // Without any flip, 269 samples suffice for 1 %: z² / (n + z²) < 0.01.
        assert_eq!(verdict(267, 0, 0), Verdict::Undecided);
        assert_eq!(verdict(269, 0, 0), Verdict::Same);
        assert_eq!(verdict(10_000, 20, 25), Verdict::Same);
        assert_eq!(verdict(540, 40, 2), Verdict::Worse);
        assert_eq!(verdict(540, 2, 40), Verdict::Better);
        assert_eq!(verdict(540, 8, 4), Verdict::Undecided);
        // SciPy: binomtest(7, 24).pvalue is 0.0639; Tango's interval at 95 % excludes 0.
        assert_eq!(verdict(540, 17, 7), Verdict::Undecided);
        let paired = Paired { samples: 540, only_reference: 17, only_candidate: 7 };
        assert!(paired.mcnemar() > 0.05 && paired.difference_interval(0.95).unwrap().high < 0.0);
    }

    #[test]
    fn missing_samples_would_decide_it() {
        let paired = Paired { samples: 540, only_reference: 8, only_candidate: 4 };
        let more = paired.missing_samples(0.01).unwrap();
        let factor = (540 + more) as f64 / 540.0;
        assert_ne!(Counts::of(&paired).scaled(factor).verdict(0.01), Verdict::Undecided);
        assert_eq!(Counts::of(&paired).scaled(factor * 0.99).verdict(0.01), Verdict::Undecided);
        assert_eq!(Paired { samples: 269, ..Paired::default() }.missing_samples(0.01), None);
        assert_eq!(Paired { samples: 100, ..Paired::default() }.missing_samples(0.01), Some(168));
    }

    /// At the margin, and beyond it, "same" is said of at most 5 % of candidates (within the error of 4,000 trials).
    #[test]
    fn same_is_rarely_said_wrongly() {
        let mut state = 7_u64;
        let mut uniform = move || {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = state;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        };
        for (samples, harmful, helpful) in [(1_000_u64, 0.02, 0.01), (540, 0.015, 0.005), (2_000, 0.03, 0.02)]
        {
            let mut same = 0;
            for _ in 0..4_000 {
                let mut paired = Paired { samples, ..Paired::default() };
                for _ in 0..samples {
                    let draw = uniform();
                    if draw < harmful {
                        paired.only_reference += 1;
                    } else if draw < harmful + helpful {
                        paired.only_candidate += 1;
                    }
                }
                same += u32::from(paired.verdict(0.01) == Verdict::Same);
            }
            let share = f64::from(same) / 4_000.0;
            assert!(share < 0.05 + 3.0 * (0.05_f64 * 0.95 / 4_000.0).sqrt(), "{share}");
        }
    }
}
