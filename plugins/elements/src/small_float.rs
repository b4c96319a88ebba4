//! Floats of 4 and 8 bits with a sign, an exponent and a fraction.

/// The numbers of NF4 as bitsandbytes has them.
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The form of a small float.
pub(crate) struct SmallFloat {
    pub(crate) exponent_bits: u32,
    pub(crate) fraction_bits: u32,
    pub(crate) bias: i32,
    pub(crate) special: Special,
}

/// Which codes are not finite numbers.
pub(crate) enum Special {
    None,
    /// The largest exponent is infinity, or NaN if the fraction is not 0.
    Ieee,
    /// All bits set, sign aside.
    AllOnesIsNan,
    /// Only the sign bit set.
    NegativeZeroIsNan,
}

impl SmallFloat {
    /// The number that `code` stands for.
    pub(crate) fn value(&self, code: u8) -> f64 {
        let fraction = i32::from(code) & ((1 << self.fraction_bits) - 1);
        let largest_exponent = (1 << self.exponent_bits) - 1;
        let exponent = i32::from(code >> self.fraction_bits) & largest_exponent;
        let sign_bit = code >> (self.exponent_bits + self.fraction_bits) & 1;
        let sign = if sign_bit == 1 { -1.0 } else { 1.0 };
        let is_all_ones = exponent == largest_exponent && fraction == (1 << self.fraction_bits) - 1;
        match self.special {
            Special::Ieee if exponent == largest_exponent => {
                return if fraction == 0 { sign * f64::INFINITY } else { f64::NAN };
            }
            Special::AllOnesIsNan if is_all_ones => return f64::NAN,
            Special::NegativeZeroIsNan if sign_bit == 1 && exponent == 0 && fraction == 0 => return f64::NAN,
            _ => {}
        }
        let unit = 2f64.powi(-(self.fraction_bits as i32));
        if exponent == 0 {
            sign * f64::from(fraction) * unit * 2f64.powi(1 - self.bias)
        } else {
            sign * (1.0 + f64::from(fraction) * unit) * 2f64.powi(exponent - self.bias)
        }
    }
}
