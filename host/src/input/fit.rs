//! Fits an array to a model's input, and records the steps.

use crate::error::{Error, Result};
use crate::model::{
    DType, Dimension, QuantizationParameters, Tensor, ValueInfo, element_count, shape_text, type_text,
};
use qp_analysis::{Affine, CodeRange, ElementType, Quantizer};

/// The tensors for a model, and what was done to make them fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// One for each input of the model, by name.
    pub tensors: Vec<Tensor>,
    /// Each step that changed shape or dtype, or chose a size, in words.
    pub steps: Vec<String>,
}

/// Fits one array: adds a leading batch dimension of 1, and converts the dtype if no value changes or rounding is
/// allowed.
pub(super) fn array(array: &Tensor, value: &ValueInfo, may_round: bool) -> Result<Fitted> {
    if value.type_name.is_some() {
        return Err(misfit(array, value).with_cause("the input is not a tensor"));
    }
    let mut steps = Vec::new();
    let shape = fit_shape(array, value, &mut steps)?;
    let wanted = match value.dtype {
        // Without a declared dtype, treat it as a floating-point input.
        DType::UNDEFINED if array.dtype.is_float() => array.dtype,
        DType::UNDEFINED if array.dtype.bits() <= 8 => DType::FLOAT32,
        DType::UNDEFINED => array.dtype,
        dtype => dtype,
    };
    let codes = value.quantization.as_ref().filter(|codes| codes.dtype == wanted && wanted.is_integer());
    let bytes = if wanted == array.dtype {
        array.bytes.clone()
    } else if let Some(codes) = codes.filter(|codes| array.dtype.is_float() && codes.scales.len() == 1) {
        // A quantized input says what its codes stand for: real numbers are rounded to them.
        let bytes = quantized(array, codes).ok_or_else(|| misfit(array, value))?;
        let scale = codes.scales.first().copied().unwrap_or(1.0);
        steps.push(format!(
            "{} → {wanted} with the input's scale {scale} and zero point {}",
            array.dtype,
            codes.zero_point(0)
        ));
        bytes
    } else {
        let bytes = convert(array, wanted, may_round).map_err(|cause| {
            misfit(array, value).with_cause(cause).with_hint("Round the values with `input … --cast`.")
        })?;
        steps.push(format!("{} → {wanted}", array.dtype));
        bytes
    };
    let tensor = Tensor { name: value.name.clone(), dtype: wanted, shape, bytes, quantization: None };
    Ok(Fitted { tensors: vec![tensor], steps })
}

/// Samples that were fitted one by one, as one batch.
pub(super) fn joined(each: impl Iterator<Item = Result<Fitted>>, value: &ValueInfo) -> Result<Fitted> {
    let mut joined: Option<Fitted> = None;
    for fitted in each {
        let mut fitted = fitted?;
        let Some(joined) = &mut joined else {
            joined = Some(fitted);
            continue;
        };
        let (Some(whole), Some(sample)) = (joined.tensors.first_mut(), fitted.tensors.pop()) else {
            continue;
        };
        if whole.shape.get(1..) != sample.shape.get(1..) || whole.dtype != sample.dtype {
            return Err(Error::invalid_input(format!(
                "samples for `{}` differ: {} {} and {} {}",
                value.name,
                whole.dtype,
                shape_text(&whole.shape),
                sample.dtype,
                shape_text(&sample.shape)
            ))
            .with_hint("Resize them to one size first, or choose a model with a fixed size."));
        }
        whole.bytes.extend(sample.bytes);
        if let (Some(count), Some(more)) = (whole.shape.first_mut(), sample.shape.first()) {
            *count += more;
        }
    }
    joined.ok_or_else(|| Error::invalid_input("there are no samples"))
}

fn fit_shape(array: &Tensor, value: &ValueInfo, steps: &mut Vec<String>) -> Result<Vec<u64>> {
    let Some(declared) = &value.shape else { return Ok(array.shape.clone()) };
    if shape_agrees(&array.shape, declared) {
        return Ok(array.shape.clone());
    }
    let batched: Vec<u64> = std::iter::once(1).chain(array.shape.iter().copied()).collect();
    if shape_agrees(&batched, declared) {
        steps.push(format!("{} → {}", shape_text(&array.shape), shape_text(&batched)));
        return Ok(batched);
    }
    Err(misfit(array, value))
}

fn shape_agrees(shape: &[u64], declared: &[Dimension]) -> bool {
    shape.len() == declared.len()
        && shape.iter().zip(declared).all(|(have, want)| want.size().is_none_or(|want| want == *have))
}

fn misfit(array: &Tensor, value: &ValueInfo) -> Error {
    Error::invalid_input(format!(
        "input `{}` takes {}, not {} {}",
        value.name,
        type_text(value),
        array.dtype,
        shape_text(&array.shape)
    ))
}

/// Real numbers as the codes that stand for them.
fn quantized(array: &Tensor, codes: &QuantizationParameters) -> Option<Vec<u8>> {
    let (from, to) = (array.dtype.element_type()?, codes.dtype.element_type()?);
    let count = element_count(&array.shape).and_then(|count| usize::try_from(count).ok())?;
    let (low, high) = codes.codes()?;
    let range = CodeRange::new(low, high)?;
    let affine = Affine { scale: *codes.scales.first()?, zero_point: codes.zero_point(0) };
    let quantizer = Quantizer::new(affine, range);
    let mut bytes = Vec::with_capacity(to.packed_bytes(count));
    for value in from.decode(&array.bytes, count) {
        to.push(&mut bytes, quantizer.quantize(value) as f64)?;
    }
    Some(bytes)
}

/// The elements in another dtype.
///
/// # Errors
/// The reason, with the first value that would change.
fn convert(array: &Tensor, wanted: DType, may_round: bool) -> Result<Vec<u8>, String> {
    let unknown = || format!("{} cannot become {wanted}", array.dtype);
    let from = array.dtype.element_type().ok_or_else(unknown)?;
    let to = wanted.element_type().ok_or_else(unknown)?;
    let count =
        element_count(&array.shape).and_then(|count| usize::try_from(count).ok()).ok_or_else(unknown)?;
    let mut bytes = Vec::with_capacity(to.packed_bytes(count));
    let (mut first, mut fault) = (0, None);
    let changed = |index: usize, value: f64| format!("{value} at index {index} is not a valid {wanted}");
    from.for_each_block(&array.bytes, count, |values| {
        if fault.is_none() {
            fault = if to == ElementType::Float32 {
                // The common case, written so that the compiler vectorizes it.
                bytes.extend(values.iter().flat_map(|value| (*value as f32).to_le_bytes()));
                let is_same = |value: &f64| f64::from(*value as f32) == *value || value.is_nan();
                let place = values.iter().position(|value| !is_same(value)).filter(|_| !may_round);
                place.map(|place| changed(first + place, values[place]))
            } else {
                values.iter().enumerate().find_map(|(place, &value)| {
                    let index = first + place;
                    if to.push(&mut bytes, value).is_none() {
                        return Some(unknown());
                    }
                    let stored = to.get(&bytes, index);
                    let is_same =
                        stored.is_some_and(|stored| stored == value || (stored.is_nan() && value.is_nan()));
                    (!may_round && !is_same).then(|| changed(index, value))
                })
            };
        }
        first += values.len();
    });
    match fault {
        Some(fault) => Err(fault),
        None => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array_of(dtype: DType, shape: &[u64], bytes: &[u8]) -> Tensor {
        Tensor { name: "a".into(), dtype, shape: shape.to_vec(), bytes: bytes.to_vec(), quantization: None }
    }

    fn value(dtype: DType, shape: Option<Vec<Dimension>>) -> ValueInfo {
        ValueInfo::new("x", dtype, shape)
    }

    fn batch_of(size: u64) -> Option<Vec<Dimension>> {
        Some(vec![Dimension::Symbolic("N".into()), Dimension::Fixed(size)])
    }

    #[test]
    fn a_sample_gets_a_batch_dimension_and_whole_numbers_become_floats() {
        let fitted =
            array(&array_of(DType::UINT8, &[2], &[0, 255]), &value(DType::FLOAT32, batch_of(2)), false)
                .unwrap();
        assert_eq!(fitted.steps, ["2 → 1×2", "uint8 → float32"]);
        assert_eq!(fitted.tensors[0].shape, [1, 2]);
        assert_eq!(fitted.tensors[0].bytes, [0f32.to_le_bytes(), 255f32.to_le_bytes()].concat());
    }

    #[test]
    fn a_value_that_would_change_is_named() {
        let halves = array_of(DType::FLOAT32, &[2], &[1f32.to_le_bytes(), 0.5f32.to_le_bytes()].concat());
        let error = array(&halves, &value(DType::UINT8, batch_of(2)), false).unwrap_err();
        assert_eq!(
            error.one_line(),
            "input `x` takes uint8 N×2, not float32 2: 0.5 at index 1 is not a valid uint8"
        );
        assert_eq!(array(&halves, &value(DType::UINT8, batch_of(2)), true).unwrap().tensors[0].bytes, [1, 0]);
    }

    #[test]
    fn a_wrong_shape_names_both_sides() {
        let error =
            array(&array_of(DType::FLOAT32, &[3, 1], &[0; 12]), &value(DType::FLOAT32, batch_of(2)), false);
        assert_eq!(error.unwrap_err().message(), "input `x` takes float32 N×2, not float32 3×1");
    }

    #[test]
    fn a_model_that_says_nothing_gets_bytes_as_float32() {
        let fitted =
            array(&array_of(DType::UINT8, &[1], &[7]), &value(DType::UNDEFINED, None), false).unwrap();
        assert_eq!(fitted.tensors[0].dtype, DType::FLOAT32);
    }
}
