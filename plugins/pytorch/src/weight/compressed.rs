//! Weights of compressed-tensors (llm-compressor), and what others write under the same names.
//!
//! `weight_packed` of `int32`: signed codes plus half their range, along the inputs, with `weight_scale`,
//! `weight_shape` and maybe `weight_zero_point`, which is packed along the outputs. `weight_packed` of `uint8`: two
//! 4-bit floats a byte (NVFP4), whose scales are themselves scaled by 1 / `weight_global_scale`. `weight` of 8 bits
//! with `weight_scale`, or with the `weight_scale_inv` of square blocks that DeepSeek's files have.
//! real = (code − zero point) · scale. Source: the compressors of vllm-project/compressed-tensors.

use super::gptq::is_in_order;
use super::sharing::spread_over_rows;
use super::{Activations, Affine, Sharing, Side, Tensors, Weight, ints, text};
use crate::tensor::{Derived, Formula, Packed, Packing, Place, StoredTensor, numbers, reals};
use qp_abi::sdk::DType;
use std::sync::Arc;

const PARTS: &[&str] = &[
    "weight_scale",
    "weight_scale_inv",
    "weight_zero_point",
    "weight_shape",
    "weight_g_idx",
    "weight_global_scale",
    "input_scale",
    "input_zero_point",
    "input_global_scale",
    "output_scale",
    "k_scale",
    "v_scale",
];

/// The weight whose codes are called `name`.
pub fn recognize(tensors: &Tensors<'_>, name: &str) -> Option<Weight> {
    let module =
        |end: &str| name.strip_suffix(end).filter(|module| module.is_empty() || module.ends_with('.'));
    if let Some(module) = module("weight_packed") {
        return packed_integers(tensors, name, module).or_else(|| packed_floats(tensors, name, module));
    }
    plain(tensors, name, module("weight")?)
}

fn weight(tensors: &Tensors<'_>, name: &str, module: &str, codes: StoredTensor) -> Weight {
    let is_static = tensors.get(&format!("{module}input_scale")).is_some();
    Weight {
        scheme: "compressed-tensors",
        activations: if is_static { Activations::Static } else { Activations::Unknown },
        codes_name: name.to_owned(),
        attributes: vec![ints("weight shape", &codes.shape)],
        codes,
        parts: tensors.parts(module, PARTS),
        affine: None,
        gap: None,
        precision: None,
    }
}

fn packed_integers(tensors: &Tensors<'_>, name: &str, module: &str) -> Option<Weight> {
    let side = |part: &str| format!("{module}{part}");
    let words = tensors.matrix(name, DType::INT32)?;
    let scales = tensors.get(&side("weight_scale"))?;
    let shape = numbers(tensors.get(&side("weight_shape"))?, tensors.data).ok()?;
    let [rows, columns] = shape[..] else { return None };
    let (rows, columns) = (rows as i64, columns as i64);
    let [word_rows, word_columns] = words.shape[..] else { return None };
    let fits =
        |bits: &i64| word_rows == rows && columns > 0 && (columns - 1) / (32 / bits) + 1 == word_columns;
    let bits = [4, 8, 2].into_iter().find(fits)?;
    let (dtype, half) = match bits {
        2 => (DType::INT2, 2),
        4 => (DType::INT4, 8),
        _ => (DType::INT8, 128),
    };
    let packing = |words: &StoredTensor, packed, shape| Packing {
        words: words.clone(),
        packed,
        bits: bits as u32,
        order: &[],
        shape,
        is_transposed: false,
        // Half the range added is half the range subtracted, within so many bits.
        offset: half,
        dtype,
    };
    let codes = matrix(packing(words, Packed::AlongRows, (rows, columns)), vec![rows, columns]);
    let mut found = weight(tensors, name, module, codes);
    found.activations = Activations::Real;
    let zero_name = side("weight_zero_point");
    let zero_points = match tensors.get(&zero_name) {
        Some(zeros) if zeros.dtype == DType::INT32 && zeros.shape.len() == 2 => {
            let groups = zeros.shape[1];
            let unpacked = matrix(packing(zeros, Packed::AlongColumns, (rows, groups)), vec![rows, groups]);
            for (part, tensor) in &mut found.parts {
                if *part == zero_name {
                    *tensor = Some(unpacked.clone());
                }
            }
            Some(Side::stored(&*zero_name, &unpacked))
        }
        zeros => zeros.map(|zeros| Side::stored(&*zero_name, zeros)),
    };
    if let Some(order) = tensors.get(&side("weight_g_idx"))
        && !is_in_order(&reals(order, tensors.data).ok()?, columns / scales.shape.last()?.max(&1))
    {
        found.gap = Some(
            "its input channels are grouped in another order (`weight_g_idx`), which no block size expresses"
                .to_owned(),
        );
        return Some(found);
    }
    found.affine = Sharing::of(&[rows, columns], &scales.shape).map(|sharing| Affine {
        dtype,
        sharing,
        scales: Side::stored(side("weight_scale"), scales),
        zero_points,
    });
    Some(found)
}

fn packed_floats(tensors: &Tensors<'_>, name: &str, module: &str) -> Option<Weight> {
    let side = |part: &str| format!("{module}{part}");
    let bytes = tensors.matrix(name, DType::UINT8)?;
    let scales = tensors.get(&side("weight_scale")).filter(|scales| scales.shape.len() == 2)?;
    let [rows, columns] = bytes.shape[..] else { return None };
    let shape = vec![rows, columns.checked_mul(2)?];
    // Two a byte, the first in the low bits: as the contract packs them.
    let mut codes = StoredTensor::dense_at(bytes.place.clone(), DType::FLOAT4_E2M1, shape.clone());
    codes.offset = bytes.offset.checked_mul(2).filter(|_| bytes.is_contiguous())?;
    let sharing = Sharing::of(&shape, &scales.shape)?;
    let mut found = weight(tensors, name, module, codes);
    let scales = match tensors.get(&side("weight_global_scale")) {
        Some(global) => {
            let global = numbers(global, tensors.data).ok()?.first().copied()?;
            let formula = Formula::Scaled(scales.clone(), (1.0 / global).to_bits());
            let place = Place::Derived(Arc::new(Derived::Numbers(formula)));
            let tensor = StoredTensor::dense_at(place, DType::FLOAT64, scales.shape.clone());
            Side::computed(side("weight_scale"), tensor, "scaled")
        }
        None => return None,
    };
    found.attributes.push(text("quantization type", "NVFP4"));
    found.affine = Some(Affine { dtype: DType::FLOAT4_E2M1, sharing, scales, zero_points: None });
    Some(found)
}

/// A weight whose codes are what its tensor holds.
fn plain(tensors: &Tensors<'_>, name: &str, module: &str) -> Option<Weight> {
    let codes = tensors
        .get(name)
        .filter(|codes| matches!(codes.dtype, DType::INT8 | DType::FLOAT8_E4M3FN | DType::FLOAT8_E5M2))?;
    let side = |part: &str| format!("{module}{part}");
    let mut found = weight(tensors, name, module, codes.clone());
    let (scale_name, scales) = ["weight_scale", "weight_scale_inv"]
        .into_iter()
        .find_map(|part| Some((side(part), tensors.get(&side(part))?)))?;
    let zero_name = side("weight_zero_point");
    let zero_points = tensors.get(&zero_name).map(|zeros| Side::stored(&*zero_name, zeros));
    // A scale for each row may come as a vector.
    let shape = match (&scales.shape[..], codes.shape.first()) {
        ([scales], Some(rows)) if scales == rows => [vec![*rows], vec![1; codes.shape.len() - 1]].concat(),
        (shape, _) => shape.to_vec(),
    };
    if scale_name.ends_with("_inv") {
        found.scheme = "block FP8";
        found.activations = Activations::Dynamic;
    }
    let dtype = codes.dtype;
    found.affine = match Sharing::of(&codes.shape, &shape) {
        Some(sharing) => {
            Some(Affine { dtype, sharing, scales: Side::stored(scale_name, scales), zero_points })
        }
        None => spread_over_rows(scales, &codes.shape).filter(|_| zero_points.is_none()).map(
            |(spread, sharing)| {
                let scales = Side::computed(scale_name, spread, "rows");
                Affine { dtype, sharing, scales, zero_points: None }
            },
        ),
    };
    if found.affine.is_none() {
        found.gap = Some(format!(
            "scales of the shape {:?} fit no axis and no block of its shape {:?}",
            scales.shape, codes.shape
        ));
    }
    Some(found)
}

fn matrix(packing: Packing, shape: Vec<i64>) -> StoredTensor {
    let dtype = packing.dtype;
    StoredTensor::dense_at(Place::Derived(Arc::new(Derived::Codes(packing))), dtype, shape)
}
