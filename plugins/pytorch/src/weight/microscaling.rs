//! Weights in the MXFP4 form of gpt-oss: `NAME_blocks`, two 4-bit floats a byte in blocks of 32 along the last
//! axis but one and a half, and `NAME_scales`, the exponents of the blocks plus 127.
//!
//! real = E2M1 code · 2^(scale − 127). Source: the OCP microscaling specification, and the reader of these
//! tensors in Hugging Face transformers.

use super::{Activations, Affine, Sharing, Side, Tensors, Weight, ints, text};
use crate::tensor::StoredTensor;
use qp_abi::sdk::DType;

/// The weight whose codes are called `name`.
pub fn recognize(tensors: &Tensors<'_>, name: &str) -> Option<Weight> {
    let base = name.strip_suffix("_blocks")?;
    let blocks = tensors.get(name).filter(|blocks| blocks.dtype == DType::UINT8 && blocks.is_contiguous())?;
    let scales_name = format!("{base}_scales");
    let stored = tensors.get(&scales_name).filter(|scales| scales.dtype == DType::UINT8)?;
    let (bytes, outer) = blocks.shape.split_last()?;
    if outer != stored.shape || outer.is_empty() || *bytes <= 0 {
        return None;
    }
    let size = bytes.checked_mul(2)?;
    let (count, outer) = outer.split_last()?;
    let shape = [outer, &[count.checked_mul(size)?]].concat();
    let mut codes = StoredTensor::dense_at(blocks.place.clone(), DType::FLOAT4_E2M1, shape.clone());
    codes.offset = blocks.offset.checked_mul(2)?;
    let mut scales = stored.clone();
    scales.dtype = DType::FLOAT8_E8M0;
    let axis = shape.len() as i64 - 1;
    Some(Weight {
        scheme: "MXFP4",
        activations: Activations::Real,
        codes_name: name.to_owned(),
        codes,
        parts: vec![(scales_name.clone(), Some(scales.clone()))],
        affine: Some(Affine {
            dtype: DType::FLOAT4_E2M1,
            sharing: Sharing::Block(axis, size),
            scales: Side::stored(scales_name, &scales),
            zero_points: None,
        }),
        gap: None,
        precision: None,
        attributes: vec![text("quantization type", "MXFP4"), ints("weight shape", &shape)],
    })
}
