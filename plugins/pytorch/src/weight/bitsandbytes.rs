//! Weights of bitsandbytes, as Hugging Face saves them.
//!
//! 4 bits: `weight` holds two codes a byte, the first in the high bits; `weight.absmax` the scale of each block of
//! neighbours, or its 8-bit code with `weight.nested_absmax` and `weight.nested_quant_map`; the bytes of
//! `weight.quant_state.bitsandbytes__nf4` are JSON with the shape, the type and the block size.
//! real = `quant_map[code] · absmax`. 8 bits: `weight` is `int8`, `SCB` the largest magnitude of each row;
//! real = `weight · SCB / 127`.

use super::{Activations, Affine, Sharing, Side, Tensors, Weight, int, ints, text};
use crate::quant::dtype::from_torch_name;
use crate::tensor::{Book, Derived, Formula, Packed, Packing, Place, StoredTensor, numbers};
use qp_abi::sdk::{BackendError, DType, NF4, Result, element_count};
use serde::Deserialize;
use std::sync::Arc;

const STATE: &str = ".quant_state.bitsandbytes__";
/// The JSON has some 200 bytes.
const MAX_STATE_BYTES: u64 = 1 << 16;
const MAX_DIMENSIONS: usize = 8;

/// What `quant_state` says.
#[derive(Debug, Deserialize)]
struct State {
    quant_type: String,
    blocksize: u64,
    dtype: String,
    shape: Vec<i64>,
    nested_blocksize: Option<u64>,
    nested_offset: Option<f64>,
}

/// The weight that `name` is the state or the scales of.
///
/// # Errors
/// `CorruptFile` when the state makes no sense.
pub fn recognize(tensors: &Tensors<'_>, name: &str) -> Result<Option<Weight>> {
    if let Some((base, _)) = name.split_once(STATE) {
        return of_4_bits(tensors, name, base);
    }
    Ok(name.strip_suffix("SCB").and_then(|module| of_8_bits(tensors, module)))
}

fn of_4_bits(tensors: &Tensors<'_>, name: &str, base: &str) -> Result<Option<Weight>> {
    let (Some(words), Some(state)) = (tensors.get(base), tensors.get(name)) else { return Ok(None) };
    let corrupt = |what: &str| {
        BackendError::corrupt_file(format!("the quantization state of `{}` {what}", base.escape_debug()))
    };
    if state.element_count().is_none_or(|bytes| bytes > MAX_STATE_BYTES) {
        return Err(corrupt("is too long"));
    }
    let bytes = state.dense(tensors.data)?;
    let state: State = serde_json::from_slice(&bytes)
        .map_err(|error| corrupt("is not JSON").with_cause(error.to_string()))?;
    let count = element_count(&state.shape).filter(|_| state.shape.len() <= MAX_DIMENSIONS);
    let Some((count, columns)) = count.zip(state.shape.last().copied()) else {
        return Err(corrupt("has an impossible shape"));
    };
    // The storage type may be any; the bytes are what counts.
    if words.bytes() != Some(count.div_ceil(2)) || !words.is_contiguous() {
        return Err(corrupt("names a shape that its codes do not have"));
    }
    let rows = count.checked_div(u64::try_from(columns).unwrap_or(0)).unwrap_or(0);
    let map = tensors.get(&format!("{base}.quant_map"));
    let table = map.map(|map| numbers(map, tensors.data)).transpose()?;
    let is_standard = table.as_deref().is_none_or(is_nf4);
    let dtype = if state.quant_type == "nf4" && is_standard { DType::NF4 } else { DType::UINT4 };
    let mut bytes = words.clone();
    bytes.dtype = DType::UINT8;
    bytes.offset = bytes.offset.saturating_mul(i64::from(words.dtype.bits() / 8));
    bytes.shape = vec![i64::try_from(count.div_ceil(2)).unwrap_or(i64::MAX)];
    bytes.strides = vec![1];
    let packing = Packing {
        words: bytes,
        packed: Packed::Flat,
        bits: 4,
        order: &[1, 0],
        shape: (i64::try_from(rows).unwrap_or(i64::MAX), columns),
        is_transposed: false,
        offset: 0,
        dtype,
    };
    let block = i64::try_from(state.blocksize).unwrap_or(0);
    let axis = state.shape.len() as i64 - 1;
    let scales = scales(tensors, base, &state);
    let (mut gap, mut derived) = (None, None);
    let has_rows = block > 0 && columns % block == 0;
    let table = table.or_else(|| is_nf4_state(&state).then(|| NF4.map(f64::from).to_vec()));
    if let (Some(table), Some(scales), false) = (&table, &scales, dtype == DType::NF4 && has_rows)
        && table.len() == NF4.len()
        && block > 0
    {
        derived = Some(Derived::Booked(Book {
            type_name: state.quant_type.clone(),
            packing: Packing { dtype: DType::UINT4, ..packing.clone() },
            table: table.iter().map(|number| (*number as f32).to_bits()).collect(),
            scales: scales.tensor.clone(),
            block_size: state.blocksize,
        }));
    }
    let affine = if derived.is_some() {
        None
    } else if dtype != DType::NF4 {
        gap = Some(format!(
            "its codes stand for the {} numbers of a table (`quant_map`), which no scale and zero point express",
            state.quant_type
        ));
        None
    } else if !has_rows {
        gap = Some(format!("its blocks of {block} codes do not end with its rows of {columns}"));
        None
    } else {
        scales.map(|scales| Affine { dtype, sharing: Sharing::Block(axis, block), scales, zero_points: None })
    };
    let dtype = if derived.is_some() { DType::UINT4 } else { dtype };
    let place = Place::Derived(Arc::new(derived.unwrap_or(Derived::Codes(packing))));
    let codes = StoredTensor::dense_at(place, dtype, state.shape.clone());
    let stands_for =
        from_torch_name(&state.dtype).map_or(state.dtype.clone(), |found| found.dtype.to_string());
    let mut parts = tensors.parts(base, &[".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"]);
    parts.push((name.to_owned(), None));
    Ok(Some(Weight {
        scheme: "bitsandbytes",
        activations: Activations::Real,
        codes_name: base.to_owned(),
        codes,
        parts,
        affine,
        gap,
        precision: (dtype != DType::NF4).then(|| state.quant_type.clone()),
        attributes: vec![
            text("quantization type", state.quant_type.as_str()),
            text("stands for", stands_for),
            ints("weight shape", &state.shape),
            int("block size", block),
        ],
    }))
}

/// The scales: stored, or computed from their own codes.
fn scales(tensors: &Tensors<'_>, base: &str, state: &State) -> Option<Side> {
    let name = format!("{base}.absmax");
    let stored = tensors.get(&name)?;
    let nested = tensors.get(&format!("{base}.nested_absmax"));
    let (Some(scales), Some(map), Some(block_size)) =
        (nested, tensors.get(&format!("{base}.nested_quant_map")), state.nested_blocksize)
    else {
        return stored.dtype.is_float().then(|| Side::stored(name, stored));
    };
    if stored.dtype != DType::UINT8 {
        return None;
    }
    let formula = Formula::Nested {
        codes: stored.clone(),
        map: map.clone(),
        scales: scales.clone(),
        block_size,
        offset: state.nested_offset.unwrap_or(0.0).to_bits(),
    };
    let place = Place::Derived(Arc::new(Derived::Numbers(formula)));
    let tensor = StoredTensor::dense_at(place, DType::FLOAT64, stored.shape.clone());
    Some(Side::computed(name, tensor, "dequantized"))
}

fn is_nf4_state(state: &State) -> bool {
    state.quant_type == "nf4"
}

fn is_nf4(map: &[f64]) -> bool {
    map.len() == NF4.len()
        && map.iter().zip(NF4).all(|(found, expected)| (found - f64::from(expected)).abs() < 1e-6)
}

fn of_8_bits(tensors: &Tensors<'_>, module: &str) -> Option<Weight> {
    if !module.is_empty() && !module.ends_with('.') {
        return None;
    }
    let codes_name = format!("{module}weight");
    let codes = tensors.matrix(&codes_name, DType::INT8)?;
    let scales_name = format!("{module}SCB");
    let largest = tensors.get(&scales_name)?;
    if largest.element_count() != u64::try_from(*codes.shape.first()?).ok() {
        return None;
    }
    let formula = Formula::Scaled(largest.clone(), (1.0_f64 / 127.0).to_bits());
    let place = Place::Derived(Arc::new(Derived::Numbers(formula)));
    let scales = StoredTensor::dense_at(place, DType::FLOAT64, largest.shape.clone());
    Some(Weight {
        scheme: "bitsandbytes",
        activations: Activations::Dynamic,
        codes_name,
        codes: codes.clone(),
        parts: tensors.parts(module, &["SCB", "weight_format"]),
        affine: Some(Affine {
            dtype: DType::INT8,
            sharing: Sharing::Channel(0),
            scales: Side::computed(scales_name, scales, "scales"),
            zero_points: None,
        }),
        gap: None,
        precision: None,
        attributes: vec![text("quantization type", "LLM.int8")],
    })
}
