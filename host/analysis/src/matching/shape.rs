//! Whether two shapes can be those of the same tensor in two variants.

/// How the shape of a candidate's tensor follows from the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShapeFit {
    /// The two are equal.
    Same,
    /// One of the two shapes, or a dimension, is not known; what is known agrees.
    Unknown,
    /// Equal except for dimensions of size 1: a 1x1 convolution as a matrix.
    Squeezed,
    /// A matrix and its transpose, a stack of matrices and their transposes, or a convolution's weight with its
    /// channels in the other order (OIHW as HWIO or OHWI).
    Transposed,
    /// The candidate packs 2, 4 or 8 elements into one.
    Packed,
    /// Scales or zero points, per tensor on one side and per channel on the other.
    Granularity,
}

/// How `candidate` follows from `reference`; `None` when the two are incompatible. A shape is `None` when not even
/// its rank is known, a dimension is `None` when it is free.
pub(super) fn fit(
    reference: Option<&[Option<u64>]>,
    candidate: Option<&[Option<u64>]>,
    may_be_packed: bool,
) -> Option<ShapeFit> {
    let (Some(reference), Some(candidate)) = (reference, candidate) else { return Some(ShapeFit::Unknown) };
    let (Some(whole), Some(other)) = (known(reference), known(candidate)) else {
        return agree(reference, candidate).then_some(ShapeFit::Unknown);
    };
    if whole == other {
        return Some(ShapeFit::Same);
    }
    if squeezed(&whole) == squeezed(&other) {
        return Some(ShapeFit::Squeezed);
    }
    let permuted = |order: &[usize]| order.iter().map(|axis| whole[*axis]).eq(other.iter().copied());
    let orders: &[&[usize]] = match (whole.len(), other.len()) {
        (2, 2) => &[&[1, 0]],
        (3, 3) => &[&[0, 2, 1]],
        (4, 4) => &[&[2, 3, 1, 0], &[0, 2, 3, 1], &[3, 2, 0, 1], &[0, 3, 1, 2]],
        _ => &[],
    };
    if orders.iter().any(|order| permuted(order)) {
        return Some(ShapeFit::Transposed);
    }
    let elements = |shape: &[u64]| shape.iter().try_fold(1u64, |total, size| total.checked_mul(*size));
    let (elements, other_elements) = (elements(&whole)?, elements(&other)?);
    let is_packed = elements > 0
        && [2, 4, 8].into_iter().any(|factor| {
            other_elements.checked_mul(factor) == Some(elements) || other_elements == elements && factor == 2
        });
    (may_be_packed && is_packed).then_some(ShapeFit::Packed)
}

/// Like [`fit`], for scales or zero points: one for the whole tensor fits any number of them.
pub(super) fn fit_of_parameters(
    reference: Option<&[Option<u64>]>,
    candidate: Option<&[Option<u64>]>,
) -> Option<ShapeFit> {
    let is_one =
        |shape: Option<&[Option<u64>]>| shape.is_some_and(|shape| shape.iter().all(|size| *size == Some(1)));
    let by_granularity = || (is_one(reference) || is_one(candidate)).then_some(ShapeFit::Granularity);
    fit(reference, candidate, false).or_else(by_granularity)
}

/// The shape without dimensions of size 1, the smaller of a matrix's two first: equal for tensors that shape alone
/// may match.
pub(super) fn class(shape: Option<&[Option<u64>]>) -> Option<Vec<u64>> {
    let mut class = squeezed(&known(shape?)?);
    if class.len() == 2 {
        class.sort_unstable();
    }
    Some(class)
}

fn known(shape: &[Option<u64>]) -> Option<Vec<u64>> {
    shape.iter().copied().collect()
}

fn squeezed(shape: &[u64]) -> Vec<u64> {
    shape.iter().copied().filter(|size| *size != 1).collect()
}

fn agree(reference: &[Option<u64>], candidate: &[Option<u64>]) -> bool {
    reference.len() == candidate.len()
        && reference
            .iter()
            .zip(candidate)
            .all(|(left, right)| left.is_none() || right.is_none() || left == right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit_of(reference: &[u64], candidate: &[u64], may_be_packed: bool) -> Option<ShapeFit> {
        let some = |shape: &[u64]| shape.iter().copied().map(Some).collect::<Vec<_>>();
        fit(Some(&some(reference)), Some(&some(candidate)), may_be_packed)
    }

    #[test]
    fn a_linear_weight_may_be_transposed_and_a_convolution_squeezed() {
        assert_eq!(fit_of(&[10, 64], &[64, 10], false), Some(ShapeFit::Transposed));
        assert_eq!(fit_of(&[32, 16, 1, 1], &[32, 16], false), Some(ShapeFit::Squeezed));
        assert_eq!(fit_of(&[32, 16, 3, 5], &[3, 5, 16, 32], false), Some(ShapeFit::Transposed));
        assert_eq!(fit_of(&[], &[1], false), Some(ShapeFit::Squeezed));
        assert_eq!(fit_of(&[16], &[32], false), None);
        assert_eq!(fit_of(&[2, 3, 4], &[2, 4, 3], false), Some(ShapeFit::Transposed));
        assert_eq!(fit_of(&[2, 3, 4], &[4, 3, 2], false), None);
    }

    /// `w0` of 256x256 elements as ONNX Runtime's MatMulNBits stores it: 8 blocks of 16 bytes per row.
    #[test]
    fn packed_elements_fit_only_where_the_name_says_so() {
        assert_eq!(fit_of(&[256, 256], &[256, 8, 16], true), Some(ShapeFit::Packed));
        assert_eq!(fit_of(&[256, 256], &[256, 8, 16], false), None);
        assert_eq!(fit_of(&[256, 256], &[256, 8, 32], true), Some(ShapeFit::Packed));
        assert_eq!(fit_of(&[u64::MAX, 2], &[4, 4], true), None);
    }

    #[test]
    fn free_dimensions_agree_with_any_size() {
        assert_eq!(fit(None, Some(&[Some(1)]), false), Some(ShapeFit::Unknown));
        assert_eq!(fit(Some(&[None, Some(3)]), Some(&[Some(8), Some(3)]), false), Some(ShapeFit::Unknown));
        assert_eq!(fit(Some(&[None, Some(3)]), Some(&[Some(8), Some(4)]), false), None);
        assert_eq!(fit(Some(&[None]), Some(&[None, None]), false), None);
    }
}
