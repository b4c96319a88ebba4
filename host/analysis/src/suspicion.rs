//! Quantization parameters that are probably a mistake, each with the reason.

use crate::code_usage::CodeUsage;
use crate::params::{Affine, AffineList, ScaleSummary};
use crate::range::CodeRange;
use std::fmt;

/// Why something is suspicious.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A scale is 0: every value becomes the same.
    ScaleZero,
    /// A scale is below the smallest normal `float32`, about 1.18e-38: runtimes that flush subnormal numbers
    /// read it as 0.
    ScaleSubnormal,
    /// A scale is infinite.
    ScaleInfinite,
    /// A scale is NaN.
    ScaleNan,
    /// A scale is below 0.
    ScaleNegative,
    /// A zero point is not a code of its type.
    ZeroPointOutOfRange,
    /// A zero point is not a whole number.
    ZeroPointFractional,
    /// The largest scale of a tensor is many times its smallest.
    ScaleSpread,
    /// All values of a channel are 0.
    ZeroChannel,
    /// The codes that occur span less than half of the available range.
    NarrowCodes,
    /// A bias's scale is not the input's scale times the weight's.
    BiasScale,
    /// The two ends of a quantize-dequantize pair have different parameters.
    PairMismatch,
}

impl Reason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::ScaleZero,
        Self::ScaleSubnormal,
        Self::ScaleInfinite,
        Self::ScaleNan,
        Self::ScaleNegative,
        Self::ZeroPointOutOfRange,
        Self::ZeroPointFractional,
        Self::ScaleSpread,
        Self::ZeroChannel,
        Self::NarrowCodes,
        Self::BiasScale,
        Self::PairMismatch,
    ];

    /// A machine-readable name; it does not change.
    pub fn code(self) -> &'static str {
        match self {
            Self::ScaleZero => "scale-zero",
            Self::ScaleSubnormal => "scale-subnormal",
            Self::ScaleInfinite => "scale-infinite",
            Self::ScaleNan => "scale-nan",
            Self::ScaleNegative => "scale-negative",
            Self::ZeroPointOutOfRange => "zero-point-out-of-range",
            Self::ZeroPointFractional => "zero-point-fractional",
            Self::ScaleSpread => "scale-spread",
            Self::ZeroChannel => "zero-channel",
            Self::NarrowCodes => "narrow-codes",
            Self::BiasScale => "bias-scale",
            Self::PairMismatch => "pair-mismatch",
        }
    }

    /// The same in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::ScaleZero => "the scale is 0",
            Self::ScaleSubnormal => "the scale is subnormal in float32",
            Self::ScaleInfinite => "the scale is infinite",
            Self::ScaleNan => "the scale is NaN",
            Self::ScaleNegative => "the scale is negative",
            Self::ZeroPointOutOfRange => "the zero point is outside its type",
            Self::ZeroPointFractional => "the zero point is not a whole number",
            Self::ScaleSpread => "the scales of the channels are far apart",
            Self::ZeroChannel => "all values of the channel are 0",
            Self::NarrowCodes => "less than half of the codes' range is in use",
            Self::BiasScale => "the bias scale is not the input scale times the weight scale",
            Self::PairMismatch => "the two ends of the pair have different parameters",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// One reason and where it applies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suspicion {
    /// Why.
    pub reason: Reason,
    /// How many indices it applies to: channels or blocks; 1 for a tensor as a whole.
    pub count: u64,
    /// The first of these indices; 0 for a tensor as a whole.
    pub first_index: u64,
    /// The value found there: the scale, the zero point, the ratio or the share in question.
    pub value: f64,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.text())?;
        match self.reason {
            // The text already says it.
            Reason::ZeroChannel | Reason::ScaleZero | Reason::ScaleNan => {}
            Reason::ScaleSpread | Reason::BiasScale | Reason::PairMismatch => {
                write!(f, " (ratio {})", short(self.value))?;
            }
            _ => write!(f, " ({})", short(self.value))?,
        }
        match (self.count, self.first_index) {
            (0 | 1, 0) if self.reason != Reason::ZeroChannel => Ok(()),
            (0 | 1, index) => write!(f, " at {index}"),
            (count, index) => write!(f, ", {count} times, first at {index}"),
        }
    }
}

/// To five significant digits: enough to recognise a number that came from a `float32`.
fn short(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// The thresholds of suspicion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// The largest unsuspicious ratio of a tensor's largest scale to its smallest.
    pub scale_spread_ratio: f64,
    /// The smallest unsuspicious share of the codes' range.
    pub code_span_share: f64,
    /// The largest unsuspicious relative difference between two scales that should be equal. The default allows for
    /// products rounded to `float32`.
    pub scale_tolerance: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { scale_spread_ratio: 100.0, code_span_share: 0.5, scale_tolerance: 1e-6 }
    }
}

impl Thresholds {
    /// Checks the scales and zero points of one tensor, whose codes are `codes`; `None` for codes that are not
    /// integers, where a zero point cannot be out of range. Ordered by reason, each once.
    pub fn of_parameters(&self, parameters: AffineList<'_>, codes: Option<CodeRange>) -> Vec<Suspicion> {
        let mut found = Findings::default();
        for (index, scale) in parameters.scales().iter().enumerate() {
            if let Some(reason) = reason_of_scale(*scale) {
                found.add(reason, index, *scale);
            }
        }
        for (index, zero_point) in parameters.zero_points().iter().enumerate() {
            if zero_point.fract() != 0.0 && zero_point.is_finite() {
                found.add(Reason::ZeroPointFractional, index, *zero_point);
            } else if codes.is_some_and(|codes| !codes.contains(*zero_point)) {
                found.add(Reason::ZeroPointOutOfRange, index, *zero_point);
            }
        }
        if let Some(summary) = ScaleSummary::of(parameters.scales())
            && summary.spread_ratio() > self.scale_spread_ratio
        {
            found.add(Reason::ScaleSpread, 0, summary.spread_ratio());
        }
        found.into_sorted()
    }

    /// Looks for channels of all zeros, given each channel's largest magnitude. A channel without finite values is
    /// given as `None` and is never reported.
    pub fn of_channels(&self, abs_max: impl IntoIterator<Item = Option<f64>>) -> Option<Suspicion> {
        let mut found = Findings::default();
        for (index, abs_max) in abs_max.into_iter().enumerate() {
            if abs_max == Some(0.0) {
                found.add(Reason::ZeroChannel, index, 0.0);
            }
        }
        found.into_sorted().pop()
    }

    /// Checks the codes in use. Fewer codes than half of the range cannot span it, and are not suspicious.
    pub fn of_codes(&self, usage: &CodeUsage) -> Option<Suspicion> {
        let share = usage.span_share();
        let could_span = usage.count() as f64 >= self.code_span_share * f64::from(usage.available_count());
        (could_span && share < self.code_span_share).then_some(Suspicion {
            reason: Reason::NarrowCodes,
            count: 1,
            first_index: 0,
            value: share,
        })
    }

    /// Compares the scales of a bias with the input's times the weight's, one per channel or one for all. The value
    /// of a suspicion is the ratio of the actual to the expected scale.
    pub fn of_bias(&self, bias: &[f64], input: f64, weight: &[f64]) -> Option<Suspicion> {
        let mut found = Findings::default();
        for index in 0..bias.len().max(weight.len()) {
            let at =
                |scales: &[f64]| if scales.len() == 1 { Some(scales[0]) } else { scales.get(index).copied() };
            let expected = at(weight).map_or(f64::NAN, |weight| weight * input);
            let ratio = at(bias).unwrap_or(f64::NAN) / expected;
            if !self.are_equal(ratio, 1.0) {
                found.add(Reason::BiasScale, index, ratio);
            }
        }
        found.into_sorted().pop()
    }

    /// Compares the parameters at the two ends of a quantize-dequantize pair. The value of a suspicion is the ratio
    /// of the scales, the first divided by the second.
    pub fn of_pair(&self, quantize: Affine, dequantize: Affine) -> Option<Suspicion> {
        // A scale of NaN is reported as such; two of them may well be the same.
        if quantize.scale.is_nan() || dequantize.scale.is_nan() {
            return None;
        }
        let is_same = self.are_equal(quantize.scale, dequantize.scale)
            && (quantize.zero_point == dequantize.zero_point);
        (!is_same).then_some(Suspicion {
            reason: Reason::PairMismatch,
            count: 1,
            first_index: 0,
            value: quantize.scale / dequantize.scale,
        })
    }

    /// NaN equals nothing.
    fn are_equal(&self, left: f64, right: f64) -> bool {
        left == right || (left - right).abs() <= self.scale_tolerance * left.abs().max(right.abs())
    }
}

fn reason_of_scale(scale: f64) -> Option<Reason> {
    if scale.is_nan() {
        Some(Reason::ScaleNan)
    } else if scale.is_infinite() {
        Some(Reason::ScaleInfinite)
    } else if scale == 0.0 {
        Some(Reason::ScaleZero)
    } else if scale < 0.0 {
        Some(Reason::ScaleNegative)
    } else if scale < f64::from(f32::MIN_POSITIVE) {
        Some(Reason::ScaleSubnormal)
    } else {
        None
    }
}

#[derive(Default)]
struct Findings(Vec<Suspicion>);

impl Findings {
    fn add(&mut self, reason: Reason, index: usize, value: f64) {
        match self.0.iter_mut().find(|suspicion| suspicion.reason == reason) {
            Some(suspicion) => suspicion.count += 1,
            None => self.0.push(Suspicion { reason, count: 1, first_index: index as u64, value }),
        }
    }

    fn into_sorted(mut self) -> Vec<Suspicion> {
        self.0.sort_by_key(|suspicion| suspicion.reason);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qp_elements::ElementType;

    fn reasons(scales: &[f64], zero_points: &[f64]) -> Vec<Reason> {
        let parameters = AffineList::new(scales, zero_points).unwrap();
        let codes = CodeRange::new(-128, 127);
        Thresholds::default().of_parameters(parameters, codes).iter().map(|found| found.reason).collect()
    }

    #[test]
    fn each_bad_scale_has_its_reason() {
        assert_eq!(reasons(&[0.1, 0.2], &[0.0]), []);
        assert_eq!(reasons(&[0.0], &[]), [Reason::ScaleZero]);
        assert_eq!(reasons(&[-0.1], &[]), [Reason::ScaleNegative]);
        assert_eq!(reasons(&[1e-39], &[]), [Reason::ScaleSubnormal]);
        assert_eq!(reasons(&[1e-37], &[]), []);
        assert_eq!(reasons(&[f64::INFINITY, f64::NAN], &[]), [Reason::ScaleInfinite, Reason::ScaleNan]);
        assert_eq!(reasons(&[1.0, 101.0], &[]), [Reason::ScaleSpread]);
    }

    #[test]
    fn zero_points_are_whole_numbers_of_their_type() {
        assert_eq!(reasons(&[0.1, 0.1], &[128.0, -129.0]), [Reason::ZeroPointOutOfRange]);
        assert_eq!(reasons(&[0.1], &[0.5]), [Reason::ZeroPointFractional]);
        assert_eq!(reasons(&[0.1], &[f64::NAN]), [Reason::ZeroPointOutOfRange]);
        let parameters = AffineList::new(&[0.1], &[300.0]).unwrap();
        assert_eq!(Thresholds::default().of_parameters(parameters, None), []);
    }

    #[test]
    fn the_first_of_many_is_named() {
        let parameters = AffineList::new(&[0.1, 0.0, 0.0], &[]).unwrap();
        let found = Thresholds::default().of_parameters(parameters, None);
        assert_eq!((found[0].count, found[0].first_index), (2, 1));
        assert_eq!(found[0].to_string(), "the scale is 0, 2 times, first at 1");
        let channels = Thresholds::default().of_channels([Some(1.0), Some(0.0), None, Some(0.0)]).unwrap();
        assert_eq!((channels.count, channels.first_index), (2, 1));
        let one = Thresholds::default().of_channels([Some(0.0), Some(1.0)]).unwrap();
        assert_eq!(one.to_string(), "all values of the channel are 0 at 0");
    }

    #[test]
    fn codes_of_one_sign_span_half_the_range_at_most() {
        let mut usage = CodeUsage::new(ElementType::Int { bits: 8, is_signed: true }).unwrap();
        usage.add_elements(&(0..100).collect::<Vec<u8>>(), 100);
        assert_eq!(Thresholds::default().of_codes(&usage), None, "too few to span half");
        usage.add_elements(&(0..100).collect::<Vec<u8>>(), 100);
        assert_eq!(Thresholds::default().of_codes(&usage).unwrap().value, 100.0 / 256.0);
        usage.add_elements(&[0x80], 1);
        assert_eq!(Thresholds::default().of_codes(&usage), None);
    }

    #[test]
    fn a_bias_has_the_product_of_two_scales() {
        let thresholds = Thresholds::default();
        let (input, weight) = (0.1f32, [0.02f32, 0.03]);
        let bias: Vec<f64> = weight.iter().map(|weight| f64::from(input * weight)).collect();
        let weight: Vec<f64> = weight.iter().copied().map(f64::from).collect();
        assert_eq!(thresholds.of_bias(&bias, f64::from(input), &weight), None);
        assert_eq!(thresholds.of_bias(&bias[..1], f64::from(input), &weight[..1]), None);
        let found = thresholds.of_bias(&[bias[0], bias[0]], f64::from(input), &weight).unwrap();
        assert_eq!((found.reason, found.count, found.first_index), (Reason::BiasScale, 1, 1));
        assert!(thresholds.of_bias(&bias, f64::from(input), &[]).is_some());
    }

    #[test]
    fn the_ends_of_a_pair_are_the_same() {
        let thresholds = Thresholds::default();
        let affine = Affine::new(0.1, 3.0);
        assert_eq!(thresholds.of_pair(affine, affine), None);
        assert!(thresholds.of_pair(affine, Affine::new(0.2, 3.0)).is_some());
        assert!(thresholds.of_pair(affine, Affine::new(0.1, 4.0)).is_some());
    }

    #[test]
    fn codes_for_machines_are_unique() {
        let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
