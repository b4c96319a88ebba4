//! The elements of a stored tensor as numbers: real values, or codes as they are stored.

mod stretch;

use super::range::code_range;
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{QuantizationParameters, TensorChunk, TensorInfo};
use crate::playground::Loaded;
use qp_analysis::granularity::Run;
use qp_analysis::{
    Affine, AffineList, Bins, CodeRange, CodeUsage, CountMismatch, ElementType, Granularity, Histogram,
    ParameterMap, Statistics,
};
use qp_elements::BLOCK_ELEMENTS;
use std::borrow::Cow;

pub use stretch::{Ahead, Stretch};

/// At most this many numbers wait for their channel's next block.
const BUFFERED_NUMBERS: usize = 1 << 20;

/// A stored tensor, to be read piece by piece as often as needed; in memory as a whole only on request.
pub struct Elements<'a> {
    model: &'a Loaded,
    tensor: &'a TensorInfo,
    element: ElementType,
    /// `None` for the numbers as stored.
    dequantization: Option<Dequantization<'a>>,
    /// Whether the backend delivers the real values, because scales cannot express them.
    is_delivered_real: bool,
}

struct Dequantization<'a> {
    map: ParameterMap,
    scales: Cow<'a, [f64]>,
    zero_points: Cow<'a, [f64]>,
    /// For real numbers that the graph rounds before anything computes with them: the codes that they are rounded to.
    rounds_to: Option<CodeRange>,
}

impl Dequantization<'_> {
    fn list(&self) -> Result<AffineList<'_>> {
        AffineList::new(&self.scales, &self.zero_points)
            .map_err(|mismatch| Error::new(ErrorKind::CorruptFile, mismatch.to_string()))
    }

    /// Turns stored numbers into real values: codes are dequantized, real numbers are rounded to codes and back.
    fn apply(&self, first: u64, numbers: &mut [f64], list: AffineList<'_>) -> Result<(), CountMismatch> {
        match self.rounds_to {
            Some(codes) => self.map.fake_quantize_in_place(first, numbers, list, codes),
            None => self.map.dequantize_in_place(first, numbers, list),
        }
    }

    /// Turns real numbers into the codes that they are rounded to; codes stay as they are.
    fn round(&self, first: u64, numbers: &mut [f64], list: AffineList<'_>) -> Result<(), CountMismatch> {
        match self.rounds_to {
            Some(codes) => self.map.quantize_in_place(first, numbers, list, codes),
            None => Ok(()),
        }
    }

    /// The single scale and zero point of all elements that are codes.
    fn only(&self) -> Option<Affine> {
        if self.rounds_to.is_some() {
            return None;
        }
        if self.map.parameter_count() == 1 { self.list().ok()?.get(0) } else { None }
    }
}

/// Numbers that follow one another at one index along an axis.
pub struct ChannelRun<'n> {
    /// The index.
    pub channel: usize,
    /// The place of the first of them in the tensor.
    pub first: u64,
    /// The numbers.
    pub numbers: &'n [f64],
}

impl<'a> Elements<'a> {
    /// The real values: codes are dequantized in `f64`; if scales and zero points cannot express a type, the backend
    /// delivers its real values.
    ///
    /// # Errors
    /// `UnsupportedOp` for elements that are not real numbers; `CorruptFile` when the quantization parameters do not
    /// fit the shape.
    pub fn values(model: &'a Loaded, tensor: &'a TensorInfo, progress: &dyn Progress) -> Result<Self> {
        if Self::come_real(model, tensor) {
            let element = ElementType::Float32;
            return Ok(Self { model, tensor, element, dequantization: None, is_delivered_real: true });
        }
        let mut elements = Self::stored(model, tensor)?;
        if let Some(parameters) = &tensor.quantization {
            elements.dequantization = Some(dequantization(model, tensor, parameters, progress)?);
        }
        Ok(elements)
    }

    /// Whether the backend itself gives the real values of the tensor, because scales and zero points cannot express
    /// them.
    pub fn come_real(model: &Loaded, tensor: &TensorInfo) -> bool {
        tensor.type_name.is_some() && model.session.plugin().has_feature("read-real")
    }

    /// The numbers as stored: for a quantized tensor the codes.
    ///
    /// # Errors
    /// `UnsupportedOp` for elements that are not real numbers.
    pub fn stored(model: &'a Loaded, tensor: &'a TensorInfo) -> Result<Self> {
        let element = tensor.dtype.element_type().ok_or_else(|| {
            Error::new(
                ErrorKind::UnsupportedOp,
                match &tensor.type_name {
                    Some(unknown) => format!("`{}` holds the unknown type {unknown}", tensor.name),
                    None => format!("`{}` holds {}, not real numbers", tensor.name, tensor.dtype),
                },
            )
        })?;
        Ok(Self { model, tensor, element, dequantization: None, is_delivered_real: false })
    }

    /// The tensor.
    pub fn tensor(&self) -> &'a TensorInfo {
        self.tensor
    }

    /// How the elements are stored.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// Whether codes are turned into real values.
    pub fn are_dequantized(&self) -> bool {
        self.dequantization.is_some() || self.is_delivered_real
    }

    /// Passes on the numbers, block by block in row-major order, each block with the index of its first element.
    ///
    /// # Errors
    /// Those of the backend and of `receive`; `Cancelled`.
    pub fn each_block(
        &self,
        progress: &dyn Progress,
        receive: &mut dyn FnMut(u64, &mut [f64]) -> Result<()>,
    ) -> Result<()> {
        self.each_block_as(|made, first, numbers, list| made.apply(first, numbers, list), progress, receive)
    }

    /// Passes on the codes like [`Self::each_block`]: as stored, or those to which the graph rounds real numbers.
    ///
    /// # Errors
    /// As [`Self::each_block`].
    pub fn each_block_of_codes(
        &self,
        progress: &dyn Progress,
        receive: &mut dyn FnMut(u64, &mut [f64]) -> Result<()>,
    ) -> Result<()> {
        self.each_block_as(|made, first, numbers, list| made.round(first, numbers, list), progress, receive)
    }

    fn each_block_as(
        &self,
        make: impl Fn(&Dequantization<'_>, u64, &mut [f64], AffineList<'_>) -> Result<(), CountMismatch>,
        progress: &dyn Progress,
        receive: &mut dyn FnMut(u64, &mut [f64]) -> Result<()>,
    ) -> Result<()> {
        let list = match &self.dequantization {
            Some(dequantization) => Some((dequantization, dequantization.list()?)),
            None => None,
        };
        self.each_chunk(progress, &mut |chunk, count| {
            let mut first = chunk.first_element;
            let mut outcome = Ok(());
            self.element.for_each_block(chunk.bytes, count, |numbers| {
                if outcome.is_err() {
                    return;
                }
                let made = match list {
                    Some((dequantization, list)) => make(dequantization, first, numbers, list),
                    None => Ok(()),
                };
                outcome = match made {
                    Ok(()) => receive(first, numbers),
                    Err(mismatch) => Err(unfit(self.tensor, &mismatch.to_string())),
                };
                first += numbers.len() as u64;
            });
            outcome
        })
    }

    /// Counts, extremes and moments of all elements.
    ///
    /// # Errors
    /// As [`Self::each_block`].
    pub fn statistics(&self, progress: &dyn Progress) -> Result<Statistics> {
        let mut statistics = Statistics::new();
        match self.common_affine() {
            Some(affine) => self.each_chunk(progress, &mut |chunk, count| {
                statistics.add_quantized(self.element, chunk.bytes, count, affine);
                Ok(())
            })?,
            None => self.each_block(progress, &mut |_, numbers| {
                statistics.add(numbers);
                Ok(())
            })?,
        }
        Ok(statistics)
    }

    /// How many elements fall into each of `bins`.
    ///
    /// # Errors
    /// As [`Self::each_block`].
    pub fn histogram(&self, bins: Bins, progress: &dyn Progress) -> Result<Histogram> {
        let mut histogram = Histogram::new(bins);
        match self.common_affine() {
            Some(affine) => self.each_chunk(progress, &mut |chunk, count| {
                histogram.add_quantized(self.element, chunk.bytes, count, affine);
                Ok(())
            })?,
            None => self.each_block(progress, &mut |_, numbers| {
                histogram.add(numbers);
                Ok(())
            })?,
        }
        Ok(histogram)
    }

    /// The statistics of each index along `axis`.
    ///
    /// # Errors
    /// `InvalidInput` for an axis that the tensor does not have; as [`Self::each_block`].
    pub fn channel_statistics(&self, axis: i64, progress: &dyn Progress) -> Result<Vec<Statistics>> {
        let map = self.channels(axis)?;
        let count = self.channel_count(&map)?;
        let mut channels = vec![Statistics::new(); count];
        // Statistics take blocks much faster than single numbers, and the channels of the last axis come as single
        // numbers.
        let block = (BUFFERED_NUMBERS / count.max(1)).clamp(1, BLOCK_ELEMENTS);
        let mut waiting: Vec<Vec<f64>> = vec![Vec::new(); count];
        self.each_block(progress, &mut |first, numbers| {
            each_run(&map, first, numbers, &mut |channel, numbers| {
                if numbers.len() >= block {
                    channels[channel].add(numbers);
                    return;
                }
                waiting[channel].extend_from_slice(numbers);
                if waiting[channel].len() >= block {
                    channels[channel].add(&waiting[channel]);
                    waiting[channel].clear();
                }
            });
            Ok(())
        })?;
        for (statistics, numbers) in channels.iter_mut().zip(&waiting) {
            statistics.add(numbers);
        }
        Ok(channels)
    }

    /// Passes on the numbers at one index along `axis`, in order.
    ///
    /// # Errors
    /// `InvalidInput` for an axis or an index that the tensor does not have; as [`Self::each_block`].
    pub fn each_block_of_channel(
        &self,
        axis: i64,
        channel: usize,
        progress: &dyn Progress,
        receive: &mut dyn FnMut(&[f64]),
    ) -> Result<()> {
        let map = self.channels(axis)?;
        let count = self.channel_count(&map)?;
        if channel >= count {
            return Err(Error::invalid_input(format!(
                "`{}` has no channel {channel} along axis {axis}",
                self.tensor.name
            ))
            .with_hint(match count {
                0 => "It has none.".to_owned(),
                count => format!("Choose one from 0 to {}.", count - 1),
            }));
        }
        self.each_block(progress, &mut |first, numbers| {
            each_run(&map, first, numbers, &mut |index, numbers| {
                if index == channel {
                    receive(numbers);
                }
            });
            Ok(())
        })
    }

    /// The codes that occur, of the type that the parameters name: some files keep 4-bit codes in bytes. `None` for
    /// types without codes.
    ///
    /// # Errors
    /// As [`Self::each_block`].
    pub fn code_usage(&self, progress: &dyn Progress) -> Result<Option<CodeUsage>> {
        let codes = self.codes();
        let Some(mut usage) = CodeUsage::new(codes) else { return Ok(None) };
        if codes == self.element {
            self.each_chunk(progress, &mut |chunk, count| {
                usage.add_elements(chunk.bytes, count);
                Ok(())
            })?;
        } else {
            self.each_block_of_codes(progress, &mut |_, numbers| {
                for code in numbers {
                    usage.add_code(*code as i64);
                }
                Ok(())
            })?;
        }
        Ok(Some(usage))
    }

    /// The type of the codes: an integer type that the stored type holds or is rounded to, or the stored type itself.
    fn codes(&self) -> ElementType {
        if !self.element.is_integer() && self.dequantization.is_none() {
            return self.element;
        }
        let named = self.tensor.quantization.as_ref().and_then(|parameters| parameters.dtype.element_type());
        named
            .filter(|codes| codes.is_integer() && codes.bits() <= self.element.bits())
            .unwrap_or(self.element)
    }

    /// The codes that occur at each index along `axis`; `None` for types without codes.
    ///
    /// # Errors
    /// As [`Self::channel_statistics`].
    pub fn channel_code_usage(&self, axis: i64, progress: &dyn Progress) -> Result<Option<Vec<CodeUsage>>> {
        let Some(none) = CodeUsage::new(self.codes()) else { return Ok(None) };
        self.fold_channel_codes(axis, &none, progress, &mut |usage, run| {
            for code in run.numbers {
                usage.add_code(*code as i64);
            }
        })
        .map(Some)
    }

    /// Folds the numbers at each index along `axis`, run by run: `add` is given the index's state.
    ///
    /// # Errors
    /// As [`Self::channel_statistics`].
    pub fn fold_channels<T: Clone>(
        &self,
        axis: i64,
        start: &T,
        progress: &dyn Progress,
        add: &mut dyn FnMut(&mut T, ChannelRun<'_>),
    ) -> Result<Vec<T>> {
        self.fold(axis, start, add, |receive| self.each_block(progress, receive))
    }

    /// Folds the codes like [`Self::fold_channels`].
    ///
    /// # Errors
    /// As [`Self::channel_statistics`].
    pub fn fold_channel_codes<T: Clone>(
        &self,
        axis: i64,
        start: &T,
        progress: &dyn Progress,
        add: &mut dyn FnMut(&mut T, ChannelRun<'_>),
    ) -> Result<Vec<T>> {
        self.fold(axis, start, add, |receive| self.each_block_of_codes(progress, receive))
    }

    fn fold<T: Clone>(
        &self,
        axis: i64,
        start: &T,
        add: &mut dyn FnMut(&mut T, ChannelRun<'_>),
        each_block: impl FnOnce(&mut dyn FnMut(u64, &mut [f64]) -> Result<()>) -> Result<()>,
    ) -> Result<Vec<T>> {
        let map = self.channels(axis)?;
        let mut channels = vec![start.clone(); self.channel_count(&map)?];
        each_block(&mut |first, numbers| {
            let mut at = first;
            each_run(&map, first, numbers, &mut |channel, run| {
                add(&mut channels[channel], ChannelRun { channel, first: at, numbers: run });
                at += run.len() as u64;
            });
            Ok(())
        })?;
        Ok(channels)
    }

    /// The scale and zero point of all elements: the identity if nothing is dequantized; `None` if channels or blocks
    /// have their own.
    fn common_affine(&self) -> Option<Affine> {
        match &self.dequantization {
            Some(dequantization) => dequantization.only(),
            None => Some(Affine::IDENTITY),
        }
    }

    fn channels(&self, axis: i64) -> Result<ParameterMap> {
        ParameterMap::new(&self.tensor.shape, Granularity::PerChannel { axis }).map_err(|error| {
            Error::invalid_input(format!("`{}` does not have these channels", self.tensor.name))
                .with_cause(error.to_string())
        })
    }

    fn channel_count(&self, map: &ParameterMap) -> Result<usize> {
        const MOST: u64 = 1 << 20;
        // An empty tensor may claim any length of the axis.
        let count = if map.element_count() == 0 { 0 } else { map.parameter_count() };
        match usize::try_from(count) {
            Ok(channels) if count <= MOST => Ok(channels),
            _ => Err(Error::invalid_input(format!("`{}` has {count} channels", self.tensor.name))
                .with_cause(format!("at most {MOST} can be listed one by one"))),
        }
    }

    fn each_chunk(
        &self,
        progress: &dyn Progress,
        receive: &mut dyn FnMut(&TensorChunk<'_>, usize) -> Result<()>,
    ) -> Result<()> {
        let mut take = |chunk: TensorChunk<'_>| {
            if progress.is_cancelled() {
                return Err(Error::cancelled());
            }
            receive(&chunk, usize::try_from(chunk.elements).unwrap_or(usize::MAX))
        };
        if self.is_delivered_real {
            return self.model.session.read_real(&self.tensor.name, &mut take, progress);
        }
        self.model.session.read_tensor(&self.tensor.name, &mut take, progress)
    }
}

/// Passes on the parts of a block that belong to one index along the axis of `map`.
fn each_run(map: &ParameterMap, first: u64, numbers: &[f64], receive: &mut dyn FnMut(usize, &[f64])) {
    let mut rest = numbers;
    for Run { len, first_parameter, advances, .. } in map.runs(first, numbers.len()) {
        let (run, after) = rest.split_at(len);
        rest = after;
        if advances {
            run.iter().enumerate().for_each(|(index, number)| {
                receive(first_parameter + index, std::slice::from_ref(number));
            });
        } else {
            receive(first_parameter, run);
        }
    }
}

fn dequantization<'a>(
    model: &Loaded,
    tensor: &TensorInfo,
    parameters: &'a QuantizationParameters,
    progress: &dyn Progress,
) -> Result<Dequantization<'a>> {
    let map = ParameterMap::new(&tensor.shape, parameters.granularity())
        .map_err(|error| unfit(tensor, &error.to_string()))?;
    let (scales, zero_points) = match (&parameters.scales[..], &parameters.scale_name) {
        ([], Some(name)) if !parameters.is_dynamic => {
            let scales = numbers(model, tensor, name, progress)?;
            let zero_points = match &parameters.zero_point_name {
                Some(name) => numbers(model, tensor, name, progress)?,
                // Scales given by name may come with listed zero points.
                None => parameters.zero_points.clone(),
            };
            (Cow::Owned(scales), Cow::Owned(zero_points))
        }
        ([], _) => return Err(unfit(tensor, "the file does not hold its scales")),
        (scales, _) => (Cow::Borrowed(scales), Cow::Borrowed(&parameters.zero_points[..])),
    };
    let rounds_to = if tensor.dtype.is_float() && parameters.dtype.is_integer() {
        let codes = code_range(parameters);
        Some(codes.ok_or_else(|| unfit(tensor, "it is rounded to codes that are not whole numbers"))?)
    } else {
        None
    };
    let dequantization = Dequantization { map, scales, zero_points, rounds_to };
    // Checked here because a tensor read channel by channel would only fail halfway through.
    let list = dequantization.list().map_err(|error| unfit(tensor, error.message()))?;
    dequantization.map.expect_count(list).map_err(|mismatch| unfit(tensor, &mismatch.to_string()))?;
    Ok(dequantization)
}

/// The numbers of a stored tensor; it must have one element for each scale of another.
fn numbers(model: &Loaded, tensor: &TensorInfo, name: &str, progress: &dyn Progress) -> Result<Vec<f64>> {
    let stored = model
        .info()
        .tensor(name)
        .ok_or_else(|| unfit(tensor, &format!("its scales or zero points, `{name}`, are not stored")))?;
    // No tensor has more scales than elements.
    if stored.element_count() > tensor.element_count().max(1) {
        return Err(unfit(tensor, &format!("`{name}` is larger than the tensor")));
    }
    let mut numbers = Vec::new();
    Elements::stored(model, stored)?.each_block(progress, &mut |_, block| {
        numbers.extend_from_slice(block);
        Ok(())
    })?;
    Ok(numbers)
}

fn unfit(tensor: &TensorInfo, cause: &str) -> Error {
    Error::new(ErrorKind::CorruptFile, format!("`{}` cannot be dequantized", tensor.name))
        .with_cause(cause)
        .with_hint("Look at the codes with `--raw`.")
}
