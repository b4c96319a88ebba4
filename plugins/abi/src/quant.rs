//! Quantization parameters: how integer codes correspond to real values.

use crate::dtype::DType;
use abi_stable::StableAbi;
use abi_stable::std_types::{ROption, RString, RVec, Tuple2};

/// real = (q - zero_point) · scale, per tensor, per channel along `axis`, or per block of `block_size`
/// elements along `axis`.
///
/// `scales` and `zero_points` have one value per tensor, channel or block; one zero point, or none (all zero), may
/// stand for all scales. Blocks are numbered in row-major order of the scale tensor. A reader leaves both lists empty
/// if there are more than [`Self::MAX_INLINE`] values: they are then read as the tensors `scale_name` and
/// `zero_point_name`.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct QuantizationParameters {
    /// The type of the codes, for example `int8`.
    pub dtype: DType,
    /// The scales; float32 scales are exact here.
    pub scales: RVec<f64>,
    /// The zero points; whole numbers for integer codes, but PyTorch and some weight-only schemes have fractional
    /// ones.
    pub zero_points: RVec<f64>,
    /// How many scales there are, even where they are not listed.
    pub scale_count: u64,
    /// The axis of the channels or blocks; `RNone` for per-tensor.
    pub axis: ROption<i64>,
    /// Elements along `axis` that share one scale; `RNone` for per-tensor and per-channel.
    pub block_size: ROption<i64>,
    /// The stored tensor that holds the scales; empty if there is none.
    pub scale_name: RString,
    /// The stored tensor that holds the zero points; empty if there is none.
    pub zero_point_name: RString,
    /// Whether the parameters are computed for each input (dynamic quantization); the lists are then empty.
    pub is_dynamic: bool,
    /// The smallest and the largest code in use, if not those of `dtype`: four bits in an `int8` are -8 and 7.
    pub code_range: ROption<Tuple2<i64, i64>>,
}

impl QuantizationParameters {
    /// The most values that a reader lists; more are read as tensors.
    pub const MAX_INLINE: usize = 65_536;

    /// One scale and one zero point for the whole tensor.
    pub fn per_tensor(dtype: DType, scale: f64, zero_point: f64) -> Self {
        Self {
            dtype,
            scales: vec![scale].into(),
            zero_points: vec![zero_point].into(),
            scale_count: 1,
            axis: ROption::RNone,
            block_size: ROption::RNone,
            scale_name: RString::new(),
            zero_point_name: RString::new(),
            is_dynamic: false,
            code_range: ROption::RNone,
        }
    }

    /// One scale and one zero point per index along `axis`.
    pub fn per_channel(dtype: DType, scales: Vec<f64>, zero_points: Vec<f64>, axis: i64) -> Self {
        Self {
            scale_count: scales.len() as u64,
            scales: scales.into(),
            zero_points: zero_points.into(),
            axis: ROption::RSome(axis),
            ..Self::per_tensor(dtype, 1.0, 0.0)
        }
    }

    /// What is contradictory about the parameters, or between them and their tensor's shape, if anything is. A size
    /// of -1 is unknown.
    pub fn contradiction(&self, shape: Option<&[i64]>) -> Option<String> {
        let (scales, zero_points) = (self.scales.len(), self.zero_points.len());
        if scales > 0 && scales as u64 != self.scale_count {
            return Some(format!("counts {} scales and lists {scales}", self.scale_count));
        }
        if zero_points > 1 && zero_points != scales {
            return Some(format!("has {scales} scales and {zero_points} zero points"));
        }
        if scales.max(zero_points) > Self::MAX_INLINE {
            return Some(format!("lists more than {} scales", Self::MAX_INLINE));
        }
        if scales == 0 && !self.is_dynamic && self.scale_name.is_empty() {
            return Some("lists no scale, names none and is not dynamic".to_owned());
        }
        let block_size = self.block_size.into_option();
        if let Some(size) = block_size.filter(|size| *size <= 0) {
            return Some(format!("has blocks of {size}"));
        }
        if let ROption::RSome(Tuple2(low, high)) = self.code_range
            && (low > high || self.dtype.code_range().is_none_or(|(least, most)| low < least || high > most))
        {
            return Some(format!("has codes from {low} to {high} in {}", self.dtype));
        }
        let (axis, shape) = (self.axis.into_option()?, shape?);
        match usize::try_from(axis).ok().and_then(|axis| shape.get(axis)) {
            None => Some(format!("has no axis {axis}")),
            Some(&channels)
                if channels >= 0 && block_size.is_none() && self.scale_count != channels as u64 =>
            {
                Some(format!("has {channels} channels and {} scales", self.scale_count))
            }
            Some(_) => None,
        }
    }
}
