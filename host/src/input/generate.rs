//! Generated inputs: the same seed gives the same values on every machine.

use super::Fitted;
use crate::error::{Error, Result};
use crate::model::{DType, Dimension, Tensor, ValueInfo, element_count, type_text};

/// An input with more elements than this is rejected as a mistake.
const MAX_ELEMENTS: u64 = 1 << 26;

/// What to fill inputs with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// Zeros.
    #[default]
    Zeros,
    /// Ones.
    Ones,
    /// Uniform between 0 and 1, integers between 0 and the largest, from this seed.
    Uniform(u64),
    /// Normal with mean 0 and standard deviation 1, from this seed; integers are uniform.
    Normal(u64),
}

/// How to generate an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generator {
    /// The values.
    pub fill: Fill,
    /// The shape, if the model has none or the user wants a different one of the same rank.
    pub shape: Option<Vec<u64>>,
    /// The size of the first dimension, if not the model's or 1.
    pub batch: Option<u64>,
    /// The largest integer, if not 255 or the dtype's maximum.
    pub largest: Option<i64>,
    /// Only these samples, counted along the first dimension.
    pub window: Option<(u64, u64)>,
}

impl Generator {
    /// How many samples there are: the size of the first dimension.
    pub(super) fn samples(&self) -> u64 {
        let given = self.shape.as_ref().and_then(|shape| shape.first().copied());
        self.batch.or(given).unwrap_or(1)
    }

    /// One tensor per input. Free sizes become 1. Each sample is generated from the seed and its own number: a sample
    /// has the same values in a part as in the whole.
    ///
    /// # Errors
    /// `InvalidInput` when the shape is unknown or a dtype cannot be generated.
    pub(super) fn tensors(&self, declared: &[ValueInfo]) -> Result<Fitted> {
        let mut steps = Vec::new();
        let tensors = declared
            .iter()
            .enumerate()
            .map(|(index, value)| self.tensor(index as u64, value, &mut steps))
            .collect::<Result<Vec<_>>>()?;
        Ok(Fitted { tensors, steps })
    }

    fn tensor(&self, index: u64, value: &ValueInfo, steps: &mut Vec<String>) -> Result<Tensor> {
        let shape = self.shape_for(value, steps)?;
        let dtype = match value.dtype {
            DType::UNDEFINED => {
                steps.push(format!("`{}`: float32, the model declares no dtype", value.name));
                DType::FLOAT32
            }
            dtype => dtype,
        };
        let cannot = || {
            Error::invalid_input(format!(
                "input `{}` takes {}, which qp cannot generate",
                value.name,
                type_text(value)
            ))
        };
        let element = dtype.element_type().filter(|_| value.type_name.is_none()).ok_or_else(cannot)?;
        let count = element_count(&shape).filter(|&count| count <= MAX_ELEMENTS).ok_or_else(|| {
            Error::invalid_input(format!(
                "input `{}` would have more than {MAX_ELEMENTS} elements",
                value.name
            ))
        })?;
        let wanted = self.largest.unwrap_or(255);
        let largest = match dtype.code_range() {
            Some((_, largest)) => largest.min(wanted),
            None if dtype == DType::BOOL => wanted.min(1),
            None => wanted,
        };
        let mut bytes = Vec::with_capacity(element.packed_bytes(count as usize));
        let samples = shape.first().copied().unwrap_or(1).max(1);
        let first = self.window.map_or(0, |(first, _)| first);
        for sample in first..first.saturating_add(samples) {
            let mut source = self.source(index, sample);
            for _ in 0..count / samples {
                let number = match (&mut source, self.fill) {
                    (None, Fill::Ones) => 1.0,
                    (None, _) => 0.0,
                    (Some(source), Fill::Normal(_)) if dtype.is_float() => normal(source),
                    (Some(source), _) if dtype.is_float() => source.f64(),
                    (Some(source), _) => source.i64(0..=largest) as f64,
                };
                element.push(&mut bytes, number).ok_or_else(cannot)?;
            }
        }
        Ok(Tensor { name: value.name.clone(), dtype, shape, bytes, quantization: None })
    }

    /// Where the values of one sample of an input come from; `None` for zeros and ones.
    fn source(&self, index: u64, sample: u64) -> Option<fastrand::Rng> {
        let (Fill::Uniform(seed) | Fill::Normal(seed)) = self.fill else { return None };
        // An odd factor: no two samples have the same seed.
        let own = seed ^ index.rotate_right(8) ^ sample.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Some(fastrand::Rng::with_seed(own))
    }

    fn shape_for(&self, value: &ValueInfo, steps: &mut Vec<String>) -> Result<Vec<u64>> {
        let mut shape = self.whole_shape(value, steps)?;
        if let Some(first) = shape.first_mut() {
            *first = self.batch.unwrap_or(*first);
            if let Some((start, end)) = self.window {
                *first = end.saturating_sub(start);
            }
        }
        Ok(shape)
    }

    fn whole_shape(&self, value: &ValueInfo, steps: &mut Vec<String>) -> Result<Vec<u64>> {
        match (&self.shape, &value.shape) {
            // A shape applies to the inputs that can have it: a scalar next to the image keeps its own.
            (Some(shape), declared) if !declared.as_ref().is_some_and(|own| is_another(own, shape)) => {
                Ok(shape.clone())
            }
            (wanted, Some(declared)) => {
                if wanted.is_some() {
                    steps.push(format!("`{}`: its own shape", value.name));
                }
                for (place, dimension) in declared.iter().enumerate() {
                    if dimension.size().is_none() {
                        let size = if place == 0 { self.batch.unwrap_or(1) } else { 1 };
                        steps.push(format!("`{}`: {dimension} = {size}", value.name));
                    }
                }
                Ok(declared.iter().map(|dimension| dimension.size().unwrap_or(1)).collect())
            }
            (_, None) => Err(Error::invalid_input(format!(
                "the model does not declare a shape for input `{}`",
                value.name
            ))
            .with_hint("Give one, as in `input random --shape 1,32,32,3`.")),
        }
    }
}

/// Whether a declared shape is complete, and differs in rank from the wanted one.
fn is_another(declared: &[Dimension], wanted: &[u64]) -> bool {
    declared.len() != wanted.len() && declared.iter().all(|dimension| dimension.size().is_some())
}

/// One number of the normal distribution (Box and Muller, 1958).
fn normal(source: &mut fastrand::Rng) -> f64 {
    // Avoids the logarithm of zero.
    let (radius, angle) = (1.0 - source.f64(), source.f64());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dimension;

    #[test]
    fn integers_reach_the_largest_and_no_further() {
        for (largest, dtype, most) in
            [(None, DType::INT64, 255), (Some(99), DType::INT64, 99), (Some(999), DType::INT8, 127)]
        {
            let fill = Fill::Uniform(1);
            let generator = Generator { fill, batch: Some(10_000), largest, ..Generator::default() };
            let bytes = generator.tensors(&[value(dtype)]).unwrap().tensors.remove(0).bytes;
            let numbers: Vec<i64> = match dtype {
                DType::INT64 => bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect(),
                _ => bytes.iter().map(|&byte| i64::from(byte.cast_signed())).collect(),
            };
            assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&0), Some(&most)));
        }
    }

    /// Of 4 · 20 000 numbers: the standard error of the mean is 0.0035, that of the deviation 0.0025.
    #[test]
    fn normal_values_have_mean_0_and_deviation_1_and_a_part_is_as_in_the_whole() {
        let whole = Generator { fill: Fill::Normal(3), batch: Some(20_000), ..Generator::default() };
        let bytes = whole.tensors(&[value(DType::FLOAT32)]).unwrap().tensors.remove(0).bytes;
        let numbers: Vec<f64> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()).into()).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let deviation =
            (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / numbers.len() as f64).sqrt();
        assert!(mean.abs() < 0.02 && (deviation - 1.0).abs() < 0.02, "{mean} {deviation}");
        let part = Generator { window: Some((7, 9)), ..whole };
        let part = part.tensors(&[value(DType::FLOAT32)]).unwrap().tensors.remove(0);
        assert_eq!((part.shape, part.bytes.as_slice()), (vec![2, 4], &bytes[7 * 16..9 * 16]));
    }

    fn value(dtype: DType) -> ValueInfo {
        let shape = Some(vec![Dimension::Symbolic("N".into()), Dimension::Fixed(4)]);
        ValueInfo::new("x", dtype, shape)
    }

    #[test]
    fn a_seed_decides_the_values_and_free_sizes_are_one() {
        let make = |seed| {
            Generator { fill: Fill::Uniform(seed), ..Generator::default() }
                .tensors(&[value(DType::FLOAT32)])
                .unwrap()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1).tensors[0].bytes, make(2).tensors[0].bytes);
        assert_eq!(make(1).steps, ["`x`: N = 1"]);
        assert_eq!(make(1).tensors[0].shape, [1, 4]);
    }

    #[test]
    fn a_shape_is_for_the_inputs_that_may_have_it() {
        let scalar = ValueInfo::new("rate", DType::INT64, Some(Vec::new()));
        let made = Generator { shape: Some(vec![2, 4]), ..Generator::default() };
        let made = made.tensors(&[value(DType::FLOAT32), scalar]).unwrap().tensors;
        assert_eq!((&made[0].shape[..], &made[1].shape[..]), (&[2, 4][..], &[][..]));
        assert_eq!(made[1].bytes.len(), 8);
    }

    #[test]
    fn zeros_are_zero_and_a_huge_shape_is_refused() {
        let zeros = Generator::default().tensors(&[value(DType::INT64)]).unwrap();
        assert_eq!(zeros.tensors[0].bytes, [0; 32]);
        let huge = Generator { shape: Some(vec![1 << 40]), ..Generator::default() };
        assert!(huge.tensors(&[value(DType::UINT8)]).is_err());
    }
}
