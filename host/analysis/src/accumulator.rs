//! The sums that integer kernels add up before they scale them: how large they can become, and how often a scaled sum
//! lies exactly between two codes.

/// The sum of products of codes for one output: the weights' part of it, without their zero point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Accumulator {
    positive: f64,
    negative: f64,
    bias: f64,
}

impl Accumulator {
    /// Adds weights, as codes minus their zero point.
    pub fn add(&mut self, weights: impl IntoIterator<Item = f64>) {
        for weight in weights {
            if weight > 0.0 {
                self.positive += weight;
            } else {
                self.negative += weight;
            }
        }
    }

    /// Adds the code of a bias, which is in units of the products.
    pub fn add_bias(&mut self, code: f64) {
        self.bias += code;
    }

    /// The lowest and the highest sum for activations, as codes minus their zero point, from `least` to `most`.
    pub fn bounds(&self, least: f64, most: f64) -> (f64, f64) {
        (
            self.positive * least + self.negative * most + self.bias,
            self.positive * most + self.negative * least + self.bias,
        )
    }
}

/// Whether sums within these bounds fit in 32 bits.
pub fn fits_32_bits((low, high): (f64, f64)) -> bool {
    low >= f64::from(i32::MIN) && high <= f64::from(i32::MAX)
}

/// The smallest power of 2 by which `numerator / denominator` becomes a whole number, up to `most`; `None` if there is
/// none or if the quotient itself is whole. Whole sums that are multiplied by this quotient lie exactly between two
/// codes once in so many times: runtimes that round halves to even and those that round them away from zero disagree
/// on these.
pub fn tie_period(numerator: f64, denominator: f64, most: u32) -> Option<u32> {
    let mut period = 1_u32;
    while period <= most {
        let multiple = (numerator * f64::from(period) / denominator).round();
        // Products of two scales that came from `float32` are exact in `f64`.
        if multiple >= 1.0 && multiple * denominator == numerator * f64::from(period) {
            return (period > 1).then_some(period);
        }
        period = period.checked_mul(2)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_those_of_the_worst_activations() {
        let mut sum = Accumulator::default();
        sum.add([127.0, -128.0, 3.0]);
        sum.add_bias(10.0);
        // 130 · 255 + 10, and −128 · 255 + 10.
        assert_eq!(sum.bounds(0.0, 255.0), (-32_630.0, 33_160.0));
        // With activations of both signs: 130 · 127 + 128 · 128 + 10.
        assert_eq!(sum.bounds(-128.0, 127.0), (-130.0 * 128.0 - 128.0 * 127.0 + 10.0, 32_904.0));
    }

    #[test]
    fn eight_bits_overflow_32_bits_only_after_66_000_products() {
        // 127 · 255 · 66,311 = 2,147,481,735 and one product more is 2,147,514,120.
        let of = |count: usize| {
            let mut sum = Accumulator::default();
            sum.add(std::iter::repeat_n(127.0, count));
            sum.bounds(0.0, 255.0)
        };
        assert!(fits_32_bits(of(66_311)));
        assert!(!fits_32_bits(of(66_312)));
        assert!(fits_32_bits((f64::from(i32::MIN), f64::from(i32::MAX))));
    }

    #[test]
    fn a_rescale_by_a_power_of_two_ties() {
        assert_eq!(tie_period(0.5, 1.0, 256), Some(2));
        assert_eq!(tie_period(0.25 * 0.5, 0.5, 256), Some(4));
        assert_eq!(tie_period(3.0, 8.0, 256), Some(8));
        assert_eq!(tie_period(2.0, 1.0, 256), None, "whole multiples never lie between two codes");
        assert_eq!(tie_period(0.1, 0.3, 256), None);
        assert_eq!(tie_period(1.0, 512.0, 256), None);
        assert_eq!(tie_period(0.0, 1.0, 256), None);
        assert_eq!(tie_period(f64::NAN, 1.0, 256), None);
        let scale = f64::from(0.037_f32);
        assert_eq!(tie_period(scale, 2.0 * scale, 256), Some(2));
    }
}
