//! Residual connections: the cost of adding two branches with different scales.

/// The two scales that meet at an Add.
///
/// The sum has one scale, which must cover the coarser branch; the finer one is rounded to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResidualMismatch {
    ratio: f64,
}

impl ResidualMismatch {
    /// The mismatch of two scales, in any order; `None` unless both are finite and above zero.
    pub fn of(scale: f64, other_scale: f64) -> Option<Self> {
        let is_valid = |scale: f64| scale > 0.0 && scale.is_finite();
        (is_valid(scale) && is_valid(other_scale))
            .then(|| Self { ratio: scale.max(other_scale) / scale.min(other_scale) })
    }

    /// max(s_a, s_b) / min(s_a, s_b), at least 1.
    pub fn ratio(self) -> f64 {
        self.ratio
    }

    /// Bits that the finer branch loses: log2 of the ratio.
    pub fn bits_lost(self) -> f64 {
        self.ratio.log2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_branches_does_not_matter() {
        let mismatch = ResidualMismatch::of(0.1, 0.4).unwrap();
        assert_eq!(Some(mismatch), ResidualMismatch::of(0.4, 0.1));
        assert_eq!((mismatch.ratio(), mismatch.bits_lost()), (4.0, 2.0));
        assert_eq!(ResidualMismatch::of(0.3, 0.3).unwrap().bits_lost(), 0.0);
    }

    #[test]
    fn invalid_scales_have_no_mismatch() {
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(ResidualMismatch::of(scale, 1.0), None);
        }
    }
}
