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
    /// The codes that occur span the range, and most of those between are never used.
    FewCodes,
    /// Channels that share a scale with larger ones use a handful of codes.
    NarrowChannel,
    /// Scales and zero points differ in number.
    CountMismatch,
    /// All codes of an activation together cover next to nothing: calibration saw nothing but zeros.
    RangeTiny,
    /// The blocks that share a scale do not divide their axis.
    BlockRemainder,
    /// Codes of a bias are at the ends of 32 bits.
    BiasSaturated,
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
        Self::FewCodes,
        Self::NarrowChannel,
        Self::CountMismatch,
        Self::RangeTiny,
        Self::BlockRemainder,
        Self::BiasSaturated,
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
            Self::FewCodes => "few-codes",
            Self::NarrowChannel => "narrow-channel",
            Self::CountMismatch => "count-mismatch",
            Self::RangeTiny => "range-tiny",
            Self::BlockRemainder => "block-remainder",
            Self::BiasSaturated => "bias-saturated",
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
            Self::FewCodes => "most codes within the range are never used",
            Self::NarrowChannel => "the channel uses less than 3 bits of the scale that it shares",
            Self::CountMismatch => "scales and zero points differ in number",
            Self::RangeTiny => "all codes together cover next to nothing",
            Self::BlockRemainder => "the block size does not divide the axis",
            Self::BiasSaturated => "codes of the bias are at the ends of 32 bits",
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
        if self.reason == Reason::CountMismatch {
            return write!(f, "{} scales and {} zero points", self.count, self.value);
        }
        f.write_str(self.reason.text())?;
        match self.reason {
            // The text already says it.
            Reason::ZeroChannel | Reason::ScaleZero | Reason::ScaleNan => {}
            Reason::ScaleSpread | Reason::BiasScale | Reason::PairMismatch => {
                write!(f, " (ratio {})", short(self.value))?;
            }
            Reason::NarrowChannel => write!(f, " ({} codes from 0)", short(self.value))?,
            Reason::RangeTiny => write!(f, " (a width of {})", short(self.value))?,
            Reason::BlockRemainder => write!(f, " ({} elements remain)", self.value)?,
            _ => write!(f, " ({})", short(self.value))?,
        }
        match (self.count, self.first_index) {
            (0 | 1, 0) if !matches!(self.reason, Reason::ZeroChannel | Reason::NarrowChannel) => Ok(()),
            (0 | 1, index) => write!(f, " at {index}"),
            (count, index) => write!(f, ", {count} times, first at {index}"),
        }
    }
}

/// To five significant digits: enough to recognise a number that came from a `float32`.
fn short(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// Codes that never occur among so many elements per code are not an accident.
const MANY_PER_CODE: f64 = 16.0;

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
    /// The smallest unsuspicious share of the available codes that are used.
    pub code_use_share: f64,
    /// The smallest unsuspicious magnitude of a channel's largest value, in steps of the scale that it shares.
    pub channel_steps: f64,
    /// The smallest unsuspicious width of an activation's range. PyTorch's observers put a scale of `f32::EPSILON`, a
    /// width of 3e-5, under a range of zero, ONNX Runtime's calibration a width of 1e-4.
    pub activation_width: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            scale_spread_ratio: 100.0,
            code_span_share: 0.5,
            scale_tolerance: 1e-6,
            code_use_share: 0.25,
            channel_steps: 4.0,
            activation_width: 1.01e-4,
        }
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

    /// Checks the codes in use. Fewer codes than half of the range cannot span it, and are not suspicious; neither are
    /// gaps unless there are many more elements than codes.
    pub fn of_codes(&self, usage: &CodeUsage) -> Option<Suspicion> {
        let available = f64::from(usage.available_count());
        let share = usage.span_share();
        let used = f64::from(usage.used_count()) / available;
        let could_span = usage.count() as f64 >= self.code_span_share * available;
        let could_fill = usage.count() as f64 >= MANY_PER_CODE * available;
        let found = |reason, value| Some(Suspicion { reason, count: 1, first_index: 0, value });
        if usage.used_count() == 1 {
            // A constant is exact at any scale.
            None
        } else if could_span && share < self.code_span_share {
            found(Reason::NarrowCodes, share)
        } else if could_fill && used < self.code_use_share {
            found(Reason::FewCodes, used)
        } else {
            None
        }
    }

    /// Looks for channels that use a handful of codes because they share one scale with larger ones, given each
    /// channel's largest magnitude. Channels of zeros are [`Self::of_channels`]'.
    pub fn of_shared_scale(
        &self,
        abs_max: impl IntoIterator<Item = Option<f64>>,
        scale: f64,
    ) -> Option<Suspicion> {
        let mut found = Findings::default();
        for (index, abs_max) in abs_max.into_iter().enumerate() {
            let steps = abs_max.map_or(0.0, |abs_max| (abs_max / scale).round());
            if steps > 0.0 && steps < self.channel_steps {
                found.add(Reason::NarrowChannel, index, steps);
            }
        }
        found.into_sorted().pop()
    }

    /// Checks the range that all codes of an activation cover together.
    pub fn of_activation(&self, low: f64, high: f64) -> Option<Suspicion> {
        let width = high - low;
        (width > 0.0 && width < self.activation_width).then_some(Suspicion {
            reason: Reason::RangeTiny,
            count: 1,
            first_index: 0,
            value: width,
        })
    }

    /// Checks that blocks of this size divide an axis of this length. A block longer than the axis is all of it.
    pub fn of_blocks(&self, length: u64, block_size: u64) -> Option<Suspicion> {
        let rest = length.checked_rem(block_size).filter(|rest| *rest > 0 && length > block_size)?;
        Some(Suspicion { reason: Reason::BlockRemainder, count: 1, first_index: 0, value: rest as f64 })
    }

    /// Checks the extremes of a bias's 32-bit codes.
    pub fn of_bias_codes(&self, smallest: f64, largest: f64) -> Option<Suspicion> {
        let end = f64::from(i32::MAX);
        let value = if largest >= end { largest } else { smallest };
        (value.abs() >= end).then_some(Suspicion {
            reason: Reason::BiasSaturated,
            count: 1,
            first_index: 0,
            value,
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
        let mut constant = CodeUsage::new(ElementType::Int { bits: 8, is_signed: true }).unwrap();
        constant.add_elements(&[127; 500], 500);
        assert_eq!(Thresholds::default().of_codes(&constant), None, "one code is all that a constant needs");
        usage.add_elements(&(0..100).collect::<Vec<u8>>(), 100);
        assert_eq!(Thresholds::default().of_codes(&usage).unwrap().value, 100.0 / 256.0);
        usage.add_elements(&[0x80], 1);
        assert_eq!(Thresholds::default().of_codes(&usage), None);
    }

    #[test]
    fn codes_with_many_gaps_are_few() {
        let mut usage = CodeUsage::new(ElementType::Int { bits: 8, is_signed: false }).unwrap();
        let every_sixteenth: Vec<u8> = (0..16).map(|code| code * 17).collect();
        for _ in 0..255 {
            usage.add_elements(&every_sixteenth, 16);
        }
        assert_eq!(Thresholds::default().of_codes(&usage), None, "too few elements to use 256 codes");
        usage.add_elements(&every_sixteenth, 16);
        let found = Thresholds::default().of_codes(&usage).unwrap();
        assert_eq!((found.reason, found.value), (Reason::FewCodes, 16.0 / 256.0));
    }

    #[test]
    fn a_channel_far_below_the_shared_scale_has_few_codes() {
        let abs_max = [Some(12.7), Some(0.34), Some(0.04), Some(0.0), None];
        let found = Thresholds::default().of_shared_scale(abs_max, 0.1).unwrap();
        assert_eq!((found.reason, found.count, found.first_index), (Reason::NarrowChannel, 1, 1));
        assert_eq!(
            found.to_string(),
            "the channel uses less than 3 bits of the scale that it shares (3 codes from 0) at 1"
        );
        assert_eq!(Thresholds::default().of_shared_scale([Some(0.4)], 0.1), None);
    }

    #[test]
    fn an_activation_that_covers_nothing_was_never_seen() {
        let thresholds = Thresholds::default();
        assert_eq!(thresholds.of_activation(-1.0, 1.0), None);
        assert!(thresholds.of_activation(0.0, 255.0 * f64::from(f32::EPSILON)).is_some());
        assert_eq!(thresholds.of_activation(0.0, 0.0), None, "a scale of zero is its own suspicion");
    }

    #[test]
    fn blocks_divide_their_axis() {
        let thresholds = Thresholds::default();
        assert_eq!(thresholds.of_blocks(128, 32), None);
        assert_eq!(thresholds.of_blocks(16, 32), None);
        assert_eq!(thresholds.of_blocks(5, 0), None);
        assert_eq!(thresholds.of_blocks(100, 32).unwrap().value, 4.0);
    }

    #[test]
    fn a_bias_that_did_not_fit_sits_at_an_end() {
        let thresholds = Thresholds::default();
        assert_eq!(thresholds.of_bias_codes(-2_147_483_646.0, 2_147_483_646.0), None);
        assert!(thresholds.of_bias_codes(0.0, 2_147_483_647.0).is_some());
        assert!(thresholds.of_bias_codes(-2_147_483_648.0, 0.0).is_some());
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
