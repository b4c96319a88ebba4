//! The operators that round real numbers to codes and back at once, as quantization-aware training leaves them in a
//! traced module.

use super::symbol::Symbol;
use qp_abi::abi_stable::std_types::{RSome, Tuple2};
use qp_abi::sdk::{DType, QuantizationParameters};

/// The arguments of one operator that tell its codes.
struct Arguments<'a> {
    scale: &'a Symbol,
    zero_point: &'a Symbol,
    /// The smallest and the largest code.
    codes: (&'a Symbol, &'a Symbol),
    axis: Option<&'a Symbol>,
    /// Whether anything is rounded at all.
    is_on: Option<&'a Symbol>,
}

/// The parameters of what the operator gives, with PyTorch's own signatures; `None` for one that is switched off, and
/// where they are not stored. `stored` reads the numbers of a stored tensor.
pub(super) fn parameters(
    name: &str,
    arguments: &[Symbol],
    stored: &dyn Fn(&Symbol) -> Option<Vec<f64>>,
) -> Option<QuantizationParameters> {
    let arguments = match (name, arguments) {
        (
            "fused_moving_avg_obs_fake_quant" | "_fused_moving_avg_obs_fq_helper",
            [_, _, is_on, _, _, scale, zero_point, _, low, high, axis, rest @ ..],
        ) => Arguments {
            scale,
            zero_point,
            codes: (low, high),
            // Left out where it is false.
            axis: matches!(rest, [Symbol::Flag(true), ..]).then_some(axis),
            is_on: Some(is_on),
        },
        (
            "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
            [_, scale, zero_point, is_on, low, high, ..],
        ) => Arguments { scale, zero_point, codes: (low, high), axis: None, is_on: Some(is_on) },
        (
            "fake_quantize_per_tensor_affine" | "fake_quantize_per_tensor_affine_cachemask",
            [_, scale, zero_point, low, high],
        ) => Arguments { scale, zero_point, codes: (low, high), axis: None, is_on: None },
        (
            "fake_quantize_per_channel_affine" | "fake_quantize_per_channel_affine_cachemask",
            [_, scale, zero_point, axis, low, high],
        ) => Arguments { scale, zero_point, codes: (low, high), axis: Some(axis), is_on: None },
        _ => return None,
    };
    let numbers = |symbol: &Symbol| match symbol {
        Symbol::Number(number) => Some(vec![*number]),
        _ => stored(symbol),
    };
    if arguments.is_on.and_then(numbers).is_some_and(|flags| flags.first() == Some(&0.0)) {
        return None;
    }
    let (Symbol::Number(low), Symbol::Number(high)) = arguments.codes else { return None };
    let (low, high) = (*low as i64, *high as i64);
    let types = [DType::INT8, DType::UINT8, DType::INT16, DType::UINT16, DType::INT32];
    let holds = |dtype: &DType| dtype.code_range().is_some_and(|range| range.0 <= low && high <= range.1);
    let dtype = types.into_iter().find(|dtype| holds(dtype) && (low < 0) == dtype.is_signed_integer())?;
    let (scales, zero_points) = (numbers(arguments.scale)?, numbers(arguments.zero_point)?);
    let mut parameters = match arguments.axis {
        Some(Symbol::Number(axis)) if scales.len() == zero_points.len() => {
            QuantizationParameters::per_channel(dtype, scales, zero_points, *axis as i64)
        }
        None => QuantizationParameters::per_tensor(dtype, *scales.first()?, *zero_points.first()?),
        Some(_) => return None,
    };
    if dtype.code_range() != Some((low, high)) {
        parameters.code_range = RSome(Tuple2(low, high));
    }
    Some(parameters)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;

    const SCALES: [f64; 2] = [0.5, 0.25];

    /// `Other` is a tensor of two scales.
    fn of(name: &str, arguments: &[Symbol]) -> Option<QuantizationParameters> {
        let stored = |symbol: &Symbol| match symbol {
            Symbol::Other => Some(SCALES.to_vec()),
            _ => None,
        };
        parameters(name, arguments, &stored)
    }

    fn number(value: f64) -> Symbol {
        Symbol::Number(value)
    }

    /// The order of the arguments is that of PyTorch's schema: `self, observer_on, fake_quant_on, running_min, running_max,
    /// scale, zero_point, averaging_const, quant_min, quant_max, ch_axis, per_row_fake_quant=False, symmetric_quant=False`.
    #[test]
    fn what_an_observer_learned_is_read_unless_it_is_switched_off() {
        let fused = |is_on: f64, rest: &[Symbol]| {
            let mut arguments: Vec<Symbol> = vec![Symbol::Other, number(1.0), number(is_on)];
            arguments.extend([number(0.0), number(9.0), Symbol::Other, Symbol::Other, number(0.01)]);
            arguments.extend([number(0.0), number(127.0), number(1.0)]);
            arguments.extend_from_slice(rest);
            of("fused_moving_avg_obs_fake_quant", &arguments)
        };
        let whole = fused(1.0, &[]).unwrap();
        assert_eq!(
            (whole.dtype, &whole.scales[..], whole.axis.into_option()),
            (DType::UINT8, &[0.5][..], None)
        );
        assert_eq!(whole.code_range, RSome(Tuple2(0, 127)));
        let channels = fused(1.0, &[Symbol::Flag(true), Symbol::Flag(true)]).unwrap();
        assert_eq!((&channels.scales[..], channels.axis.into_option()), (&SCALES[..], Some(1)));
        assert!(fused(0.0, &[]).is_none());
    }

    /// `self, scale, zero_point, quant_min, quant_max`, and with an axis before the bounds.
    #[test]
    fn numbers_in_the_code_are_read_as_well_as_tensors() {
        let per_tensor = [Symbol::Other, number(0.1), number(-3.0), number(-128.0), number(127.0)];
        let found = of("fake_quantize_per_tensor_affine", &per_tensor).unwrap();
        assert_eq!(
            (found.dtype, &found.scales[..], &found.zero_points[..]),
            (DType::INT8, &[0.1][..], &[-3.0][..])
        );
        assert!(found.code_range.is_none());
        let per_channel =
            [Symbol::Other, Symbol::Other, Symbol::Other, number(0.0), number(-7.0), number(7.0)];
        let found = of("fake_quantize_per_channel_affine", &per_channel).unwrap();
        assert_eq!((&found.scales[..], found.axis.into_option()), (&SCALES[..], Some(0)));
        assert_eq!(found.code_range, RSome(Tuple2(-7, 7)));
    }
}
