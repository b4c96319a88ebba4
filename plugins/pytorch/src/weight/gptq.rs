//! Weights of GPTQ and AWQ: `qweight`, `qzeros` and `scales` of a layer, `int32` words full of unsigned codes.
//!
//! real = (code − zero point) · scale for each group of input channels. GPTQ packs codes along the inputs,
//! AWQ along the outputs and in an order of its own. GPTQ's first format, which tools write unless told
//! otherwise, stores zero points less one. Sources: the `qlinear` modules of GPTQModel (AutoGPTQ) and the `gemm`
//! modules of AutoAWQ. Both are read as PyTorch's `Linear` has its weight: outputs, inputs.

use super::{Activations, Affine, Sharing, Side, Tensors, Weight, int, ints, text};
use crate::tensor::{Derived, Packed, Packing, Place, StoredTensor, reals};
use qp_abi::sdk::{DType, Result};
use std::sync::Arc;

/// Where AWQ puts the codes of eight neighbours in a word.
const AWQ_ORDER: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The sizes that the shapes of a layer's tensors tell.
struct Layout {
    is_awq: bool,
    bits: u32,
    inputs: i64,
    outputs: i64,
    groups: i64,
}

/// The weight whose codes are called `name`.
///
/// # Errors
/// `CorruptFile` when the order of the groups cannot be read.
pub fn recognize(tensors: &Tensors<'_>, name: &str) -> Result<Option<Weight>> {
    let Some(module) =
        name.strip_suffix("qweight").filter(|module| module.is_empty() || module.ends_with('.'))
    else {
        return Ok(None);
    };
    let side = |part: &str| format!("{module}{part}");
    let (Some(words), Some(zeros), Some(scales)) = (
        tensors.matrix(name, DType::INT32),
        tensors.matrix(&side("qzeros"), DType::INT32),
        tensors.get(&side("scales")).filter(|scales| scales.shape.len() == 2),
    ) else {
        return Ok(None);
    };
    let order = tensors.get(&side("g_idx"));
    let Some(layout) = Layout::of(words, zeros, scales, order) else { return Ok(None) };
    let Layout { is_awq, bits, inputs, outputs, groups } = layout;
    let dtype = match bits {
        2 => DType::UINT2,
        8 => DType::UINT8,
        _ => DType::UINT4,
    };
    let is_first_format = !is_awq && !are_all(zeros, bits, tensors)?;
    let packing = |words: &StoredTensor, packed, shape, offset| Packing {
        words: words.clone(),
        packed,
        bits,
        order: if is_awq { &AWQ_ORDER } else { &[] },
        shape,
        is_transposed: true,
        offset,
        dtype,
    };
    let along = if is_awq { Packed::AlongRows } else { Packed::AlongColumns };
    let codes = matrix(packing(words, along, (inputs, outputs), 0));
    let zero_points = matrix(packing(zeros, Packed::AlongRows, (groups, outputs), u8::from(is_first_format)));
    let scales = scales.transposed();
    let group_size = inputs / groups;
    let gap = match order.filter(|_| !is_awq) {
        Some(order) if !is_in_order(&reals(order, tensors.data)?, group_size) => {
            Some("its input channels are grouped in another order (`g_idx`, act-order), which no block size expresses".to_owned())
        }
        _ => None,
    };
    let sharing = if groups == 1 { Sharing::Channel(0) } else { Sharing::Block(1, group_size) };
    let affine = gap.is_none().then(|| Affine {
        dtype,
        sharing,
        scales: Side::stored(side("scales"), &scales),
        zero_points: Some(Side::stored(side("qzeros"), &zero_points)),
    });
    let mut attributes = vec![
        int("bits", i64::from(bits)),
        int("group size", group_size),
        ints("weight shape", &[outputs, inputs]),
    ];
    if !is_awq {
        attributes.push(text("zero points", if is_first_format { "stored less one" } else { "as stored" }));
    }
    let mut parts = vec![(side("scales"), Some(scales)), (side("qzeros"), Some(zero_points))];
    parts.extend(tensors.parts(module, &["g_idx"]));
    Ok(Some(Weight {
        scheme: if is_awq { "AWQ" } else { "GPTQ" },
        activations: Activations::Real,
        codes_name: name.to_owned(),
        codes,
        parts,
        affine,
        gap,
        precision: (dtype.bits() != bits).then(|| format!("uint{bits}")),
        attributes,
    }))
}

impl Layout {
    fn of(
        words: &StoredTensor,
        zeros: &StoredTensor,
        scales: &StoredTensor,
        order: Option<&StoredTensor>,
    ) -> Option<Self> {
        let ([word_rows, word_columns], [zero_rows, zero_columns], [groups, outputs]) =
            (&words.shape[..], &zeros.shape[..], &scales.shape[..])
        else {
            return None;
        };
        if zero_rows != groups || *groups <= 0 || *outputs <= 0 {
            return None;
        }
        // Zero points are packed along the outputs by both: how many fit into a word tells the bits.
        let bits = u32::try_from(zero_columns.checked_mul(32)? / outputs).ok()?;
        let words_of = |codes: i64| codes.checked_mul(i64::from(bits)).map(|bits| (bits + 31) / 32);
        if !(2..=8).contains(&bits) || words_of(*outputs)? != *zero_columns {
            return None;
        }
        if words_of(*outputs)? == *word_columns && word_columns != outputs {
            let (is_awq, inputs) = (true, *word_rows);
            return (bits == 4 && inputs % groups == 0 && inputs > 0).then_some(Self {
                is_awq,
                bits,
                inputs,
                outputs: *outputs,
                groups: *groups,
            });
        }
        let inputs = match order.and_then(|order| order.shape.first()) {
            Some(inputs) => *inputs,
            None => word_rows.checked_mul(32)? / i64::from(bits),
        };
        let fits = word_columns == outputs && words_of(inputs)? == *word_rows && inputs > 0;
        (fits && inputs % groups == 0).then_some(Self {
            is_awq: false,
            bits,
            inputs,
            outputs: *outputs,
            groups: *groups,
        })
    }
}

fn matrix(packing: Packing) -> StoredTensor {
    let ((rows, columns), dtype) = (packing.read_shape(), packing.dtype);
    StoredTensor::dense_at(Place::Derived(Arc::new(Derived::Codes(packing))), dtype, vec![rows, columns])
}

/// Whether all stored zero points are the middle of the codes: only GPTQ's second format stores that.
fn are_all(zeros: &StoredTensor, bits: u32, tensors: &Tensors<'_>) -> Result<bool> {
    // One word of all-middle codes, for the widths that fill a word.
    if 32 % bits != 0 {
        return Ok(false);
    }
    let middle = (0..32 / bits).fold(0_u32, |word, index| word | 1 << (index * bits + bits - 1));
    let bytes = zeros.dense(tensors.data)?;
    Ok(!bytes.is_empty() && bytes.as_chunks::<4>().0.iter().all(|word| u32::from_le_bytes(*word) == middle))
}

/// Whether each input belongs to the group that follows from its place.
pub fn is_in_order(groups: &[f64], group_size: i64) -> bool {
    groups.iter().enumerate().all(|(input, group)| *group == (input as i64 / group_size.max(1)) as f64)
}
