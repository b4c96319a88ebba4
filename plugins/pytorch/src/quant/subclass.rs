//! torchao's tensor subclasses: codes in `qdata`, with `scale` and maybe `zero_point` beside them.
//!
//! real = (qdata - zero_point) · scale, the scale broadcast in blocks: along each axis it has as many elements as
//! the codes, or one for all, or one for each block (torchao's `block_size`).

use super::numbers;
use crate::rebuild::Composite;
use crate::tensor::Data;
use qp_abi::sdk::{QuantizationParameters, RSome, Result};

/// The quantization parameters of a subclass's codes; `None` for one that is made otherwise, and for blocks along
/// several axes.
///
/// # Errors
/// `CorruptFile` when the scales or zero points cannot be read.
pub fn parameters(composite: &Composite, data: &Data) -> Result<Option<QuantizationParameters>> {
    let part =
        |name: &str| composite.parts.iter().find(|(part, _)| part == name).map(|(_, found)| &found.tensor);
    let (Some(codes), Some(scale)) = (part("qdata"), part("scale")) else { return Ok(None) };
    let zero_point = part("zero_point");
    let Some(sharing) = Sharing::of(&codes.shape, &scale.shape) else { return Ok(None) };
    let is_short =
        scale.element_count().is_some_and(|count| count <= QuantizationParameters::MAX_INLINE as u64);
    let fits = zero_point.is_none_or(|zero_point| zero_point.element_count() == scale.element_count());
    if !is_short || !fits || codes.dtype.bits() != 8 {
        return Ok(None);
    }
    let scales = numbers(scale, data)?;
    let zero_points = match zero_point {
        Some(zero_point) => numbers(zero_point, data)?,
        None => Vec::new(),
    };
    let mut parameters = QuantizationParameters::per_channel(codes.dtype, scales, zero_points, 0);
    match sharing {
        Sharing::Tensor => parameters.axis = qp_abi::sdk::RNone,
        Sharing::Channel(axis) => parameters.axis = RSome(axis),
        Sharing::Block(axis, size) => {
            parameters.axis = RSome(axis);
            parameters.block_size = RSome(size);
        }
    }
    Ok(Some(parameters))
}

/// What shares one scale.
#[derive(Debug, PartialEq, Eq)]
enum Sharing {
    Tensor,
    Channel(i64),
    /// Blocks of so many elements along an axis, every other index by itself.
    Block(i64, i64),
}

impl Sharing {
    fn of(codes: &[i64], scale: &[i64]) -> Option<Self> {
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
}

#[cfg(test)]
mod tests {
    use super::Sharing;

    #[test]
    fn the_shapes_tell_what_shares_a_scale() {
        assert_eq!(Sharing::of(&[10, 64], &[1]), Some(Sharing::Tensor));
        assert_eq!(Sharing::of(&[10, 64], &[10, 1]), Some(Sharing::Channel(0)));
        assert_eq!(Sharing::of(&[10, 64], &[10, 2]), Some(Sharing::Block(1, 32)));
        assert_eq!(Sharing::of(&[10, 64], &[5, 2]), None);
        assert_eq!(Sharing::of(&[10, 64], &[10]), None);
        assert_eq!(Sharing::of(&[10, 64], &[10, 0]), None);
    }
}
