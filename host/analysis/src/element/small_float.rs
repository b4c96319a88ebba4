//! Floats of 4 and 8 bits with a sign, an exponent and a fraction.

use super::ElementType;

/// The numbers of NF4 as bitsandbytes has them.
const NF4: [f32; 16] = [
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

struct SmallFloat {
    exponent_bits: u32,
    fraction_bits: u32,
    bias: i32,
    special: Special,
}

/// Which codes are not finite numbers.
enum Special {
    None,
    /// The largest exponent is infinity, or NaN if the fraction is not 0.
    Ieee,
    /// All bits set, sign aside.
    AllOnesIsNan,
    /// Only the sign bit set.
    NegativeZeroIsNan,
}

impl SmallFloat {
    fn of(element: ElementType) -> Option<Self> {
        let (exponent_bits, fraction_bits, bias, special) = match element {
            ElementType::Float8E4M3Fn => (4, 3, 7, Special::AllOnesIsNan),
            ElementType::Float8E4M3Fnuz => (4, 3, 8, Special::NegativeZeroIsNan),
            ElementType::Float8E5M2 => (5, 2, 15, Special::Ieee),
            ElementType::Float8E5M2Fnuz => (5, 2, 16, Special::NegativeZeroIsNan),
            ElementType::Float4E2M1 => (2, 1, 1, Special::None),
            _ => return None,
        };
        Some(Self { exponent_bits, fraction_bits, bias, special })
    }
}

/// The number that `code` stands for; NaN for an element type that is not a small float.
pub(super) fn value(element: ElementType, code: u8) -> f64 {
    if element == ElementType::Nf4 {
        return f64::from(NF4[usize::from(code & 0xf)]);
    }
    let Some(format) = SmallFloat::of(element) else { return f64::NAN };
    let fraction = i32::from(code) & ((1 << format.fraction_bits) - 1);
    let largest_exponent = (1 << format.exponent_bits) - 1;
    let exponent = i32::from(code >> format.fraction_bits) & largest_exponent;
    let sign_bit = code >> (format.exponent_bits + format.fraction_bits) & 1;
    let sign = if sign_bit == 1 { -1.0 } else { 1.0 };
    let is_all_ones = exponent == largest_exponent && fraction == (1 << format.fraction_bits) - 1;
    match format.special {
        Special::Ieee if exponent == largest_exponent => {
            return if fraction == 0 { sign * f64::INFINITY } else { f64::NAN };
        }
        Special::AllOnesIsNan if is_all_ones => return f64::NAN,
        Special::NegativeZeroIsNan if sign_bit == 1 && exponent == 0 && fraction == 0 => return f64::NAN,
        _ => {}
    }
    let unit = 2f64.powi(-(format.fraction_bits as i32));
    if exponent == 0 {
        sign * f64::from(fraction) * unit * 2f64.powi(1 - format.bias)
    } else {
        sign * (1.0 + f64::from(fraction) * unit) * 2f64.powi(exponent - format.bias)
    }
}
