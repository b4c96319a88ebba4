//! How NumPy computes in `float32`.

/// `numpy.sum` of contiguous numbers: by halves, in blocks of at most 128 with eight sums each.
pub(super) fn sum(values: &[f32]) -> f32 {
    if values.len() < 8 {
        return values.iter().fold(0.0, |sum, value| sum + value);
    }
    if values.len() > 128 {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % 8);
        return sum(left) + sum(right);
    }
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
}

/// `left // right`.
pub(super) fn floor_divide(left: f32, right: f32) -> f32 {
    let remainder = left % right;
    let quotient = (left - remainder) / right;
    // For a remainder of another sign than the divisor's, and where the division was inexact.
    let quotient =
        if remainder != 0.0 && (right < 0.0) != (remainder < 0.0) { quotient - 1.0 } else { quotient };
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

/// `numpy.arange(start, stop, step)`, which is of `float64` even for `float32` ends; its number, the second one and
/// so the distance of all come from `float32` all the same. `None` for more than `most` numbers.
pub(super) fn arange(start: f32, stop: f32, step: f32, most: usize) -> Option<Vec<f64>> {
    let count = f64::from((stop - start) / step).ceil();
    if count.is_nan() || count > most as f64 {
        return None;
    }
    let (first, second) = (f64::from(start), f64::from(start + step));
    Some((0..count.max(0.0) as usize).map(|index| first + index as f64 * (second - first)).collect())
}

/// `numpy.log` of a positive `float32` number, on processors with FMA: the rational approximation of NumPy's AVX2 and
/// AVX-512 loops, of ln(1 + x) from 1/√2 to √2, and as much of ln 2 as the exponent says. It differs from the nearest
/// number in one case of six.
pub(super) fn ln(value: f32) -> f32 {
    const NUMERATOR: [f32; 6] = [0.0, 1.0, 2.112_677_5, 1.480_000_6, 0.380_883_77, 0.025_899_79];
    const DENOMINATOR: [f32; 6] = [1.0, 2.612_677_6, 2.453_006, 0.986_494_3, 0.154_647_64, 0.005_875_095_4];
    // The product of two float32 is exact in float64.
    let multiply_add =
        |factor: f32, other: f32, term: f32| (f64::from(factor) * f64::from(other) + f64::from(term)) as f32;
    if !value.is_normal() || value < 0.0 {
        return f64::from(value).ln() as f32;
    }
    let bits = value.to_bits();
    let mut exponent = (bits >> 23) as i32 - 126;
    let mut mantissa = f32::from_bits(bits & 0x007f_ffff | 0x3f00_0000);
    if mantissa < std::f32::consts::FRAC_1_SQRT_2 {
        mantissa *= 2.0;
        exponent -= 1;
    }
    let rest = mantissa - 1.0;
    let polynomial =
        |of: [f32; 6]| of.into_iter().rev().reduce(|sum, next| multiply_add(sum, rest, next)).unwrap_or(0.0);
    let fraction = polynomial(NUMERATOR) / polynomial(DENOMINATOR);
    multiply_add(exponent as f32, std::f32::consts::LN_2, fraction)
}

#[cfg(test)]
mod tests {
    /// `np.log` and `np.sum` of `float32` arrays.
    #[test]
    fn logarithms_and_sums_are_numpys() {
        let logs = [
            -6.8844867e+00,
            -3.4187508e+00,
            -1.3914253e+00,
            4.6985142e-02,
            1.1627029e+00,
            2.0743108e+00,
            2.8450642e+00,
            3.512721e+00,
            4.1016364e+00,
            4.628439e+00,
            5.1049895e+00,
            5.5400467e+00,
            5.94026e+00,
        ];
        for (index, log) in (1..).zip(logs) {
            let value = (f64::from(index).powi(5) / 977.0) as f32;
            assert_eq!(super::ln(value), log, "{value}");
        }
        let harmonic: Vec<f32> = (1..=1000u16).map(|index| 1.0 / f32::from(index)).collect();
        assert_eq!(super::sum(&harmonic), 7.4854717e+00);
        assert_eq!(super::sum(&harmonic[..100]), 5.1873784e+00);
        assert_eq!(super::sum(&harmonic[..7]), 2.5928574e+00);
    }
}
