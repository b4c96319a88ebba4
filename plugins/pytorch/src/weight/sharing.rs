//! Which codes of a weight share a scale, as shapes and block sizes tell.

use crate::tensor::{Derived, Formula, Place, StoredTensor};
use qp_abi::sdk::DType;
use std::sync::Arc;

/// What shares one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All codes.
    Tensor,
    /// Those of one index along an axis.
    Channel(i64),
    /// So many neighbours along an axis, every other index by itself.
    Block(i64, i64),
}

impl Sharing {
    /// What the shape of the scales says: along each axis as many as codes, or one for all, or one for each block.
    pub fn of(codes: &[i64], scale: &[i64]) -> Option<Self> {
        if scale.iter().all(|size| *size == 1) {
            return Some(Self::Tensor);
        }
        if codes.len() != scale.len() {
            return None;
        }
        let axes = || codes.iter().zip(scale).enumerate();
        let own: Vec<usize> = axes()
            .filter(|(_, (codes, scale))| codes == scale && **scale > 1)
            .map(|(axis, _)| axis)
            .collect();
        if let [axis] = own[..]
            && axes().all(|(other, (_, scale))| other == axis || *scale == 1)
        {
            return Some(Self::Channel(i64::try_from(axis).ok()?));
        }
        let mut divided = axes().filter(|(_, (codes, scale))| codes != scale);
        let (axis, (codes, scale)) = divided.next()?;
        let is_only = divided.next().is_none();
        if !is_only || *scale <= 0 || codes % scale != 0 {
            return None;
        }
        Some(Self::Block(i64::try_from(axis).ok()?, codes / scale))
    }

    /// What a block size says: so many neighbours along each axis share a scale.
    pub fn of_blocks(codes: &[i64], block_size: &[i64]) -> Option<Self> {
        if codes.len() != block_size.len() || block_size.iter().any(|size| *size <= 0) {
            return None;
        }
        let sizes = codes.iter().zip(block_size);
        let counts: Option<Vec<i64>> =
            sizes.map(|(codes, block)| (codes % block == 0).then(|| codes / block)).collect();
        Self::of(codes, &counts?)
    }

    /// How many scales codes of that shape have.
    pub fn scale_count(self, codes: &[i64]) -> Option<u64> {
        let size = |axis: i64| codes.get(usize::try_from(axis).ok()?).copied();
        let count = match self {
            Self::Tensor => 1,
            Self::Channel(axis) => size(axis)?,
            Self::Block(axis, block) => {
                let mut others = codes.iter().enumerate().filter(|(index, _)| *index as i64 != axis);
                let others = others.try_fold(1_i64, |count, (_, size)| count.checked_mul(*size))?;
                // The last block may be short.
                others.checked_mul((size(axis)? - 1).checked_div(block)? + 1)?
            }
        };
        u64::try_from(count).ok()
    }
}

/// Sides of square blocks, the likeliest first.
const SIDES: [i64; 5] = [128, 64, 32, 256, 512];

/// Scales of blocks of rows and columns, as scales of each row. Square blocks may be short where the rows or the columns
/// end: DeepSeek's are of 128, whatever the shape. `None` when neither a square nor whole blocks have so many scales.
pub fn spread_over_rows(scales: &StoredTensor, codes: &[i64]) -> Option<(StoredTensor, Sharing)> {
    let ([rows, columns], [blocks_down, blocks_across], [down, across]) =
        (codes, &scales.shape[..], &scales.strides[..])
    else {
        return None;
    };
    if *blocks_down <= 0 || *blocks_across <= 0 || *rows <= 0 || *columns <= 0 {
        return None;
    }
    let count = |size: i64, side: i64| (size - 1) / side + 1;
    let is_whole = rows % blocks_down == 0 && columns % blocks_across == 0;
    let square = SIDES
        .into_iter()
        .find(|side| count(*rows, *side) == *blocks_down && count(*columns, *side) == *blocks_across);
    let (high, wide) = match square {
        Some(side) => (side, side),
        None if is_whole => (rows / blocks_down, columns / blocks_across),
        None => return None,
    };
    if rows % high == 0 {
        let mut spread = scales.clone();
        spread.shape = vec![*blocks_down, high, *blocks_across];
        spread.strides = vec![*down, 0, *across];
        return Some((spread, Sharing::Block(1, wide)));
    }
    let formula = Formula::Repeated {
        rows: scales.clone(),
        times: u64::try_from(high).ok()?,
        count: u64::try_from(*rows).ok()?,
    };
    let place = Place::Derived(Arc::new(Derived::Numbers(formula)));
    let spread = StoredTensor::dense_at(place, DType::FLOAT64, vec![*rows, *blocks_across]);
    Some((spread, Sharing::Block(1, wide)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_tell_what_shares_a_scale() {
        assert_eq!(Sharing::of(&[10, 64], &[1]), Some(Sharing::Tensor));
        assert_eq!(Sharing::of(&[10, 64], &[10, 1]), Some(Sharing::Channel(0)));
        assert_eq!(Sharing::of(&[10, 64], &[10, 2]), Some(Sharing::Block(1, 32)));
        assert_eq!(Sharing::of(&[10, 64], &[5, 2]), None);
        assert_eq!(Sharing::of(&[10, 64], &[10]), None);
        assert_eq!(Sharing::of(&[10, 64], &[10, 0]), None);
    }

    /// The shapes of DeepSeek-V3's `down_proj` and `kv_a_proj_with_mqa`, whose blocks are of 128 by 128.
    #[test]
    fn square_blocks_may_be_short_at_the_end() {
        let spread = |codes: &[i64], scales: &[i64]| {
            let place = Place::Span { start: 0, bytes: 4 * scales.iter().product::<i64>().unsigned_abs() };
            let scales = StoredTensor::dense_at(place, DType::FLOAT32, scales.to_vec());
            spread_over_rows(&scales, codes).map(|(spread, sharing)| (spread.element_count(), sharing))
        };
        assert_eq!(spread(&[7168, 2048], &[56, 16]), Some((Some(7168 * 16), Sharing::Block(1, 128))));
        assert_eq!(spread(&[576, 7168], &[5, 56]), Some((Some(576 * 56), Sharing::Block(1, 128))));
        assert_eq!(spread(&[160, 200], &[2, 2]), Some((Some(160 * 2), Sharing::Block(1, 128))));
        assert_eq!(spread(&[96, 60], &[2, 3]), Some((Some(96 * 3), Sharing::Block(1, 20))));
        assert_eq!(spread(&[97, 60], &[2, 3]), None);
    }

    #[test]
    fn a_block_size_tells_the_same() {
        assert_eq!(Sharing::of_blocks(&[10, 64], &[1, 64]), Some(Sharing::Channel(0)));
        assert_eq!(Sharing::of_blocks(&[10, 64], &[1, 32]), Some(Sharing::Block(1, 32)));
        assert_eq!(Sharing::of_blocks(&[10, 64], &[10, 64]), Some(Sharing::Tensor));
        assert_eq!(Sharing::of_blocks(&[10, 64], &[1, 0]), None);
        assert_eq!(Sharing::of_blocks(&[10, 64], &[3, 64]), None);
    }
}
