//! Scales, zero points and codes as onnxruntime 1.31.1 computes them in `onnxruntime/quantization/quant_utils.py`.
//!
//! Expected values are those of its functions, with NumPy 2.4.6, for `float32` arrays from
//!
//! ```python
//! def noise(n, scale, offset=0.0, seed=0):
//!     i = np.arange(seed, seed + n, dtype=np.uint64)
//!     u = (i * 2654435761 % 2**32).astype(np.float64) / 2**32 - 0.5
//!     return (u * u * u * scale + offset).astype(np.float32)
//! ```

use qp_analysis::calibration::bias::{quantize_bias, raise_weight_scales};
use qp_analysis::calibration::weights::{WeightOptions, pack, weight_codes, weight_parameters};
use qp_analysis::calibration::{
    CalibrationError, ClipRange, MinMax, MinMaxOptions, ParameterError, Parameters, code_range, parameters,
    restricted_parameters,
};
use qp_analysis::{CodeRange, ElementType, Granularity, ParameterMap};

const INT4: ElementType = ElementType::Int { bits: 4, is_signed: true };
const UINT4: ElementType = ElementType::Int { bits: 4, is_signed: false };
const INT8: ElementType = ElementType::Int { bits: 8, is_signed: true };
const UINT8: ElementType = ElementType::Int { bits: 8, is_signed: false };
const INT16: ElementType = ElementType::Int { bits: 16, is_signed: true };
const UINT16: ElementType = ElementType::Int { bits: 16, is_signed: false };

fn noise(count: u64, scale: f64, offset: f64, seed: u64) -> Vec<f32> {
    (seed..seed + count)
        .map(|index| (index * 2_654_435_761 % (1 << 32)) as f64 / 2f64.powi(32) - 0.5)
        .map(|unit| (unit * unit * unit * scale + offset) as f32)
        .collect()
}

/// `get_qmin_qmax_for_qType(type, reduce_range, symmetric)` for (False, False), (False, True), (True, False) and
/// (True, True).
#[rustfmt::skip]
const RANGES: &[(ElementType, [(i64, i64); 4])] = &[
    (INT8, [(-128, 127), (-127, 127), (-64, 64), (-64, 64)]),
    (UINT8, [(0, 255), (0, 255), (0, 127), (0, 127)]),
    (INT16, [(-32768, 32767), (-32767, 32767), (-16384, 16384), (-16384, 16384)]),
    (UINT16, [(0, 65535), (0, 65535), (0, 32767), (0, 32767)]),
    (INT4, [(-8, 7), (-8, 7), (-4, 3), (-4, 3)]),
    (UINT4, [(0, 15), (0, 15), (0, 7), (0, 7)]),
];

#[test]
fn code_ranges_are_those_of_onnxruntime() {
    for (element, expected) in RANGES {
        let found =
            [(false, false), (false, true), (true, false), (true, true)].map(|(reduced, symmetric)| {
                let codes = code_range(*element, reduced, symmetric).unwrap();
                (codes.min(), codes.max())
            });
        assert_eq!(found, *expected, "{element:?}");
    }
    let float = ElementType::Float32;
    assert_eq!(code_range(float, false, false), Err(ParameterError::Element(float)));
}

/// A range, and the scale and zero point of `compute_scale_zp` with these options: asymmetric; symmetric; asymmetric
/// with a reduced range and at least 0.5 wide; symmetric with a reduced range.
type Case = (ElementType, f32, f32, [(f32, i32); 4]);

#[rustfmt::skip]
const PARAMETERS: &[Case] = &[
    (INT8, -1.0, 1.0, [(0.007843138, 0), (0.007874016, 0), (0.015625, 0), (0.015625, 0)]),
    (INT8, -0.3, 2.7, [(0.011764706, -102), (0.021259842, 0), (0.0234375, -51), (0.0421875, 0)]),
    (INT8, 0.1, 6.0, [(0.023529412, -128), (0.047244094, 0), (0.046875, -64), (0.09375, 0)]),
    (INT8, -5.0, -0.2, [(0.019607844, 127), (0.03937008, 0), (0.0390625, 64), (0.078125, 0)]),
    (INT8, 0.0, 0.0, [(1.0, 0), (1.0, 0), (0.00390625, -64), (1.0, 0)]),
    (INT8, -1.0e-40, 1.0e-40, [(1.0, 0), (1.0, 0), (0.00390625, -64), (1.0, 0)]),
    (INT8, -3.0e+38, 3.0e+38, [(2.3529411e+36, 0), (2.3622048e+36, 0), (4.6875e+36, 0), (4.6875e+36, 0)]),
    (INT8, 0.0, 1.0e-36, [(1.0, 0), (1.0, 0), (0.00390625, -64), (1.5625e-38, 0)]),
    (INT8, -0.001, 1000.0, [(3.9215724, -128), (7.874016, 0), (7.8125076, -64), (15.625, 0)]),
    (UINT8, -1.0, 1.0, [(0.007843138, 128), (0.007843138, 128), (0.015748031, 64), (0.015748031, 64)]),
    (UINT8, -0.3, 2.7, [(0.011764706, 26), (0.02117647, 128), (0.023622047, 13), (0.042519685, 64)]),
    (UINT8, 0.1, 6.0, [(0.023529412, 0), (0.047058824, 128), (0.047244094, 0), (0.09448819, 64)]),
    (UINT8, -5.0, -0.2, [(0.019607844, 255), (0.039215688, 128), (0.03937008, 127), (0.07874016, 64)]),
    (UINT8, 0.0, 0.0, [(1.0, 0), (1.0, 0), (0.003937008, 0), (1.0, 0)]),
    (UINT8, -1.0e-40, 1.0e-40, [(1.0, 0), (1.0, 0), (0.003937008, 0), (1.0, 0)]),
    (UINT8, -3.0e+38, 3.0e+38, [(2.3529411e+36, 128), (2.3529411e+36, 128), (4.7244096e+36, 64), (4.7244096e+36, 64)]),
    (UINT8, 0.0, 1.0e-36, [(1.0, 0), (1.0, 0), (0.003937008, 0), (1.5748032e-38, 64)]),
    (UINT8, -0.001, 1000.0, [(3.9215724, 0), (7.8431373, 128), (7.8740234, 0), (15.748032, 64)]),
    (INT16, -1.0, 1.0, [(3.0518044e-05, 0), (3.051851e-05, 0), (6.1035156e-05, 0), (6.1035156e-05, 0)]),
    (INT16, -0.3, 2.7, [(4.5777066e-05, -26214), (8.239998e-05, 0), (9.1552734e-05, -13107), (0.00016479492, 0)]),
    (INT16, 0.1, 6.0, [(9.155413e-05, -32768), (0.00018311106, 0), (0.00018310547, -16384), (0.00036621094, 0)]),
    (INT16, -5.0, -0.2, [(7.629511e-05, 32767), (0.00015259255, 0), (0.00015258789, 16384), (0.00030517578, 0)]),
    (INT16, 0.0, 0.0, [(1.0, 0), (1.0, 0), (1.5258789e-05, -16384), (1.0, 0)]),
    (INT16, -1.0e-40, 1.0e-40, [(1.0, 0), (1.0, 0), (1.5258789e-05, -16384), (1.0, 0)]),
    (INT16, -3.0e+38, 3.0e+38, [(9.1554133e+33, 0), (9.1555526e+33, 0), (1.8310547e+34, 0), (1.8310547e+34, 0)]),
    (INT16, 0.0, 1.0e-36, [(1.0, 0), (1.0, 0), (1.5258789e-05, -16384), (1.0, 0)]),
    (INT16, -0.001, 1000.0, [(0.015259037, -32768), (0.03051851, 0), (0.030517608, -16384), (0.061035156, 0)]),
    (UINT16, -1.0, 1.0, [(3.0518044e-05, 32768), (3.0518044e-05, 32768), (6.103702e-05, 16384), (6.103702e-05, 16384)]),
    (UINT16, -0.3, 2.7, [(4.5777066e-05, 6554), (8.239872e-05, 32768), (9.155553e-05, 3277), (0.00016479996, 16384)]),
    (UINT16, 0.1, 6.0, [(9.155413e-05, 0), (0.00018310826, 32768), (0.00018311106, 0), (0.0003662221, 16384)]),
    (UINT16, -5.0, -0.2, [(7.629511e-05, 65535), (0.00015259022, 32768), (0.00015259255, 32767), (0.0003051851, 16384)]),
    (UINT16, 0.0, 0.0, [(1.0, 0), (1.0, 0), (1.5259255e-05, 0), (1.0, 0)]),
    (UINT16, -1.0e-40, 1.0e-40, [(1.0, 0), (1.0, 0), (1.5259255e-05, 0), (1.0, 0)]),
    (UINT16, -3.0e+38, 3.0e+38, [(9.1554133e+33, 32768), (9.1554133e+33, 32768), (1.8311105e+34, 16384), (1.8311105e+34, 16384)]),
    (UINT16, 0.0, 1.0e-36, [(1.0, 0), (1.0, 0), (1.5259255e-05, 0), (1.0, 0)]),
    (UINT16, -0.001, 1000.0, [(0.015259037, 0), (0.030518044, 32768), (0.03051854, 0), (0.06103702, 16384)]),
    (INT4, -1.0, 1.0, [(0.13333334, 0), (0.13333334, 0), (0.2857143, 0), (0.2857143, 0)]),
    (INT4, -0.3, 2.7, [(0.2, -6), (0.36, 0), (0.42857143, -3), (0.7714286, 0)]),
    (INT4, 0.1, 6.0, [(0.4, -8), (0.8, 0), (0.85714287, -4), (1.7142857, 0)]),
    (INT4, -5.0, -0.2, [(0.33333334, 7), (0.6666667, 0), (0.71428573, 3), (1.4285715, 0)]),
    (INT4, 0.0, 0.0, [(1.0, 0), (1.0, 0), (0.071428575, -4), (1.0, 0)]),
    (INT4, -1.0e-40, 1.0e-40, [(1.0, 0), (1.0, 0), (0.071428575, -4), (1.0, 0)]),
    (INT4, -3.0e+38, 3.0e+38, [(4.0e+37, 0), (4.0e+37, 0), (8.571428e+37, -1), (8.571428e+37, 0)]),
    (INT4, 0.0, 1.0e-36, [(6.666667e-38, -8), (1.3333334e-37, 0), (0.071428575, -4), (2.8571429e-37, 0)]),
    (INT4, -0.001, 1000.0, [(66.66673, -8), (133.33333, 0), (142.85728, -4), (285.7143, 0)]),
    (UINT4, -1.0, 1.0, [(0.13333334, 8), (0.13333334, 8), (0.2857143, 4), (0.2857143, 4)]),
    (UINT4, -0.3, 2.7, [(0.2, 2), (0.36, 8), (0.42857143, 1), (0.7714286, 4)]),
    (UINT4, 0.1, 6.0, [(0.4, 0), (0.8, 8), (0.85714287, 0), (1.7142857, 4)]),
    (UINT4, -5.0, -0.2, [(0.33333334, 15), (0.6666667, 8), (0.71428573, 7), (1.4285715, 4)]),
    (UINT4, 0.0, 0.0, [(1.0, 0), (1.0, 0), (0.071428575, 0), (1.0, 0)]),
    (UINT4, -1.0e-40, 1.0e-40, [(1.0, 0), (1.0, 0), (0.071428575, 0), (1.0, 0)]),
    (UINT4, -3.0e+38, 3.0e+38, [(4.0e+37, 8), (4.0e+37, 8), (8.571428e+37, 3), (8.571428e+37, 4)]),
    (UINT4, 0.0, 1.0e-36, [(6.666667e-38, 0), (1.3333334e-37, 8), (0.071428575, 0), (2.8571429e-37, 4)]),
    (UINT4, -0.001, 1000.0, [(66.66673, 0), (133.33333, 8), (142.85728, 0), (285.7143, 4)]),
];

#[test]
fn parameters_are_those_of_onnxruntime() {
    let options = [(false, false, None), (true, false, None), (false, true, Some(0.5)), (true, true, None)];
    for (element, low, high, expected) in PARAMETERS {
        for ((symmetric, reduced, least), (scale, zero_point)) in options.into_iter().zip(*expected) {
            let codes = code_range(*element, reduced, symmetric).unwrap();
            let found = parameters(ClipRange { low: *low, high: *high }, codes, symmetric, least);
            assert_eq!(found, Ok(Parameters { scale, zero_point }), "{element:?} {low} {high} {symmetric}");
        }
    }
}

#[test]
fn there_are_no_parameters_for_ranges_that_are_not_finite() {
    let codes = code_range(INT8, false, false).unwrap();
    let infinite = ClipRange { low: 0.0, high: f32::INFINITY };
    assert_eq!(parameters(infinite, codes, false, None), Err(ParameterError::Range(infinite)));
    assert!(parameters(ClipRange { low: f32::NAN, high: 1.0 }, codes, true, None).is_err());
    let odd = CodeRange::new(1, 9).unwrap();
    let range = ClipRange { low: 0.0, high: 1.0 };
    assert_eq!(parameters(range, odd, false, None), Err(ParameterError::Codes(odd)));
}

/// `snap_zero_point_to_uint8(low, high, 0, 255)` and `(low, high, 0, 127, 0.5)`.
type Restricted = (f32, f32, [(f32, i32); 2]);

#[rustfmt::skip]
const RESTRICTED: &[Restricted] = &[
    (-1.0, 1.0, [(0.007874016, 128), (0.015873017, 64)]),
    (-0.3, 2.7, [(0.021259842, 128), (0.042857144, 64)]),
    (0.1, 6.0, [(0.023529412, 0), (0.047244094, 0)]),
    (-5.0, -0.2, [(0.0390625, 128), (0.078125, 64)]),
    (0.0, 0.0, [(0.003921569, 0), (0.003937008, 0)]),
    (-1.0e-40, 1.0e-40, [(7.88e-43, 128), (0.007936508, 64)]),
    (-3.0e+38, 3.0e+38, [(2.3622048e+36, 128), (4.7619048e+36, 64)]),
    (0.0, 1.0e-36, [(3.921569e-39, 0), (0.003937008, 0)]),
    (-0.001, 1000.0, [(7.874016, 128), (15.873015, 64)]),
];

#[test]
fn restricted_parameters_are_those_of_onnxruntime() {
    for (low, high, expected) in RESTRICTED {
        for ((max, least), (scale, zero_point)) in [(255, None), (127, Some(0.5))].into_iter().zip(*expected)
        {
            let codes = CodeRange::new(0, max).unwrap();
            let found = restricted_parameters(ClipRange { low: *low, high: *high }, codes, least);
            assert_eq!(found, Ok(Parameters { scale, zero_point }), "{low} {high} {max}");
        }
    }
}

/// Type, symmetric, and of `noise(180, 1.0, 0.01).reshape(5, 12, 3)` the first three scales and zero points and
/// Σ code[i] · (i % 97 + 1); along axis 1 with `reduce_range`.
type Weight = (ElementType, bool, Granularity, &'static [f32], &'static [i32], i64);

#[rustfmt::skip]
const WEIGHTS: &[Weight] = &[
    (INT8, false, Granularity::PerTensor, &[0.00097131374], &[-10], -10446),
    (INT8, false, Granularity::PerChannel { axis: 0 }, &[0.00092041295, 0.0008834802, 0.00088423124], &[-3, -19, -2], -12842),
    (INT8, false, Granularity::PerChannel { axis: 1 }, &[0.0019350392, 0.001364235, 0.0013521146], &[-5, -20, -14], 993),
    (INT8, true, Granularity::PerTensor, &[0.0010447638], &[0], 67578),
    (INT8, true, Granularity::PerChannel { axis: 0 }, &[0.0009425614, 0.0010157526, 0.00089929], &[0, 0, 0], 70857),
    (INT8, true, Granularity::PerChannel { axis: 1 }, &[0.0020732032, 0.0017845286, 0.0016517509], &[0, 0, 0], 39921),
    (UINT8, false, Granularity::PerTensor, &[0.00097131374], &[118], 1044146),
    (UINT8, false, Granularity::PerChannel { axis: 0 }, &[0.00092041295, 0.0008834802, 0.00088423124], &[125, 109, 126], 1041750),
    (UINT8, false, Granularity::PerChannel { axis: 1 }, &[0.0019502756, 0.001374977, 0.0013627611], &[59, 44, 49], 525888),
    (UINT8, true, Granularity::PerTensor, &[0.0010406667], &[128], 1122392),
    (UINT8, true, Granularity::PerChannel { axis: 0 }, &[0.0009388651, 0.0010117692, 0.0008957634], &[128, 128, 128], 1125678),
    (UINT8, true, Granularity::PerChannel { axis: 1 }, &[0.0020895277, 0.00179858, 0.0016647568], &[64, 64, 64], 566929),
    (INT16, false, Granularity::PerTensor, &[3.779431e-06], &[-2340], -685662),
    (INT16, false, Granularity::PerChannel { axis: 0 }, &[3.5813734e-06, 3.437666e-06, 3.4405884e-06], &[-657, -4759, -428], -2083527),
    (INT16, false, Granularity::PerChannel { axis: 1 }, &[7.558747e-06, 5.329043e-06, 5.2816977e-06], &[-1170, -5048, -3631], 436676),
    (INT16, true, Granularity::PerTensor, &[4.0493487e-06], &[0], 17354104),
    (INT16, true, Granularity::PerChannel { axis: 0 }, &[3.6532274e-06, 3.936905e-06, 3.4855138e-06], &[0, 0, 0], 18213798),
    (INT16, true, Granularity::PerChannel { axis: 1 }, &[8.09845e-06, 6.970815e-06, 6.452152e-06], &[0, 0, 0], 10150415),
    (UINT16, false, Granularity::PerTensor, &[3.779431e-06], &[30428], 269289890),
    (UINT16, false, Granularity::PerChannel { axis: 0 }, &[3.5813734e-06, 3.437666e-06, 3.4405884e-06], &[32111, 28009, 32340], 267892025),
    (UINT16, false, Granularity::PerChannel { axis: 1 }, &[7.5589774e-06, 5.329205e-06, 5.2818586e-06], &[15214, 11336, 12753], 135420820),
    (UINT16, true, Granularity::PerTensor, &[4.049287e-06], &[32768], 287329807),
    (UINT16, true, Granularity::PerChannel { axis: 0 }, &[3.6531717e-06, 3.936845e-06, 3.4854606e-06], &[32768, 32768, 32768], 288189393),
    (UINT16, true, Granularity::PerChannel { axis: 1 }, &[8.098697e-06, 6.9710277e-06, 6.4523488e-06], &[16384, 16384, 16384], 145137922),
    (INT4, false, Granularity::PerTensor, &[0.016512334], &[-1], -3463),
    (INT4, false, Granularity::PerChannel { axis: 0 }, &[0.01564702, 0.015019163, 0.015031931], &[-1, -2, -1], -5002),
    (INT4, false, Granularity::PerChannel { axis: 1 }, &[0.03538357, 0.02494601, 0.024724381], &[-1, -2, -1], -5484),
    (INT4, true, Granularity::PerTensor, &[0.017691335], &[0], 4709),
    (INT4, true, Granularity::PerChannel { axis: 0 }, &[0.015960706, 0.017200077, 0.015227977], &[0, 0, 0], 4808),
    (INT4, true, Granularity::PerChannel { axis: 1 }, &[0.037910003, 0.03263138, 0.030203445], &[0, 0, 0], 1763),
    (UINT4, false, Granularity::PerTensor, &[0.016512334], &[7], 62449),
    (UINT4, false, Granularity::PerChannel { axis: 0 }, &[0.01564702, 0.015019163, 0.015031931], &[7, 6, 7], 60910),
    (UINT4, false, Granularity::PerChannel { axis: 1 }, &[0.03538357, 0.02494601, 0.024724381], &[3, 2, 3], 27472),
    (UINT4, true, Granularity::PerTensor, &[0.017691335], &[8], 70621),
    (UINT4, true, Granularity::PerChannel { axis: 0 }, &[0.015960706, 0.017200077, 0.015227977], &[8, 8, 8], 70720),
    (UINT4, true, Granularity::PerChannel { axis: 1 }, &[0.037910003, 0.03263138, 0.030203445], &[4, 4, 4], 34719),
];

fn digest(codes: &[i32]) -> i64 {
    codes.iter().enumerate().map(|(index, code)| i64::from(*code) * (index as i64 % 97 + 1)).sum()
}

#[test]
fn weights_are_quantized_as_by_onnxruntime() {
    let values = noise(180, 1.0, 0.01, 0);
    for (element, is_symmetric, granularity, scales, zero_points, expected) in WEIGHTS {
        let is_reduced = *granularity == Granularity::PerChannel { axis: 1 };
        let map = ParameterMap::new(&[5, 12, 3], *granularity).unwrap();
        let options = WeightOptions {
            element: *element,
            is_symmetric: *is_symmetric,
            is_reduced,
            min_real_range: None,
        };
        let found = weight_parameters(&values, &map, false, options).unwrap();
        for ((found, scale), zero_point) in found.iter().zip(*scales).zip(*zero_points) {
            assert_eq!((found.scale, found.zero_point), (*scale, *zero_point), "{element:?} {granularity:?}");
        }
        let codes = weight_codes(&values, &map, &found, *element).unwrap();
        assert_eq!(digest(&codes), *expected, "{element:?} {granularity:?} {is_symmetric}");
    }
}

/// Type, symmetric, axis, block size, and of `noise(70, 1.0, 0.01, 300).reshape(7, 10)`, row 3 all 0, the scales 0, 1,
/// middle and last, Σ zero_point[i] · (i + 1) and Σ code[i] · (i % 97 + 1).
type Blocks = (ElementType, bool, i64, u64, [f32; 4], i64, i64);

#[rustfmt::skip]
const BLOCKS: &[Blocks] = &[
    (INT8, false, 1, 4, [0.000424037, 0.00043708427, 1.0, 0.00034563945], -2659, 7557),
    (INT8, false, 0, 3, [0.000117157455, 0.00040638988, 8.082102e-05, 0.00030742752], -21375, 63643),
    (INT8, true, 1, 4, [0.0007480345, 0.0005188065, 1.0, 0.0006172757], 0, 24630),
    (INT8, true, 0, 3, [0.00023523741, 0.0007480345, 9.093443e-05, 0.0006172757], 0, 83883),
    (UINT8, false, 1, 4, [0.000424037, 0.00043708427, 1.0, 0.00034563945], 22685, 280197),
    (UINT8, false, 0, 3, [0.000117157455, 0.00040638988, 8.082102e-05, 0.00030742752], 38145, 381723),
    (UINT8, true, 1, 4, [0.0007451011, 0.000516772, 1.0, 0.00061485503], 29568, 342427),
    (UINT8, true, 0, 3, [0.00023431491, 0.0007451011, 9.057783e-05, 0.00061485503], 59520, 401616),
    (INT16, false, 1, 4, [1.6499494e-06, 1.700717e-06, 1.0, 1.3449006e-06], -654837, 2228417),
    (INT16, false, 0, 3, [4.558656e-07, 1.5812835e-06, 3.1447868e-07, 1.1962161e-06], -5433897, 16669780),
    (INT16, true, 1, 4, [2.8992702e-06, 2.0108166e-06, 1.0, 2.3924686e-06], 0, 6337571),
    (INT16, true, 0, 3, [9.117451e-07, 2.8992702e-06, 3.5244827e-07, 2.3924686e-06], 0, 21644342),
    (UINT16, false, 1, 4, [1.6499494e-06, 1.700717e-06, 1.0, 1.3449006e-06], 5833227, 72024257),
    (UINT16, false, 0, 3, [4.558656e-07, 1.5812835e-06, 3.1447868e-07, 1.1962161e-06], 9803223, 98098260),
    (UINT16, true, 1, 4, [2.899226e-06, 2.010786e-06, 1.0, 2.3924322e-06], 7569408, 87765841),
    (UINT16, true, 0, 3, [9.117312e-07, 2.899226e-06, 3.524429e-07, 2.3924322e-06], 15237120, 103072607),
    (INT4, false, 1, 4, [0.007208629, 0.007430433, 1.0, 0.0058758706], -256, -684),
    (INT4, false, 0, 3, [0.0019916769, 0.0069086277, 0.0013739574, 0.005226268], -1481, 2544),
    (INT4, true, 1, 4, [0.012666718, 0.008785124, 1.0, 0.010452536], 0, 1200),
    (INT4, true, 0, 3, [0.0039833537, 0.012666718, 0.001539823, 0.010452536], 0, 4307),
    (UINT4, false, 1, 4, [0.007208629, 0.007430433, 1.0, 0.0058758706], 1328, 16356),
    (UINT4, false, 0, 3, [0.0019916769, 0.0069086277, 0.0013739574, 0.005226268], 2239, 22424),
    (UINT4, true, 1, 4, [0.012666718, 0.008785124, 1.0, 0.010452536], 1848, 21080),
    (UINT4, true, 0, 3, [0.0039833537, 0.012666718, 0.001539823, 0.010452536], 3720, 24187),
];

#[test]
fn blocks_are_quantized_as_by_onnxruntime() {
    let mut values = noise(70, 1.0, 0.01, 300);
    values[30..40].fill(0.0);
    for (element, is_symmetric, axis, block_size, scales, zero_points, expected) in BLOCKS {
        let granularity = Granularity::PerBlock { axis: *axis, block_size: *block_size };
        let map = ParameterMap::new(&[7, 10], granularity).unwrap();
        let options = WeightOptions {
            element: *element,
            is_symmetric: *is_symmetric,
            is_reduced: false,
            min_real_range: None,
        };
        let found = weight_parameters(&values, &map, true, options).unwrap();
        let what = format!("{element:?} {is_symmetric} {axis}");
        assert_eq!(
            [0, 1, found.len() / 2, found.len() - 1].map(|index| found[index].scale),
            *scales,
            "{what}"
        );
        let sum: i64 = (1..).zip(&found).map(|(index, found)| index * i64::from(found.zero_point)).sum();
        assert_eq!(sum, *zero_points, "{what}");
        let codes = weight_codes(&values, &map, &found, *element).unwrap();
        assert_eq!(digest(&codes), *expected, "{what}");
    }
}

/// `quantize_nparray(type, values, 1, 3)`.
#[rustfmt::skip]
const ROUNDED: &[(ElementType, [i32; 11])] = &[
    (INT8, [3, 5, 5, 3, 1, 127, -128, 0, 127, -128, 3]),
    (UINT8, [3, 5, 5, 3, 1, 255, 0, 0, 255, 0, 3]),
    (INT16, [3, 5, 5, 3, 1, 303, -297, 0, 32767, -32768, 3]),
    (UINT16, [3, 5, 5, 3, 1, 303, 0, 0, 65535, 0, 3]),
    (INT4, [3, 5, 5, 3, 1, 7, -8, 0, 7, -8, 3]),
    (UINT4, [3, 5, 5, 3, 1, 15, 0, 0, 15, 0, 3]),
];

#[test]
fn codes_are_rounded_and_clamped_as_by_onnxruntime() {
    let nan = f32::NAN;
    let values =
        [0.5, 1.5, 2.5, -0.5, -1.5, 300.0, -300.0, nan, f32::INFINITY, f32::NEG_INFINITY, 0.49999997];
    let map = ParameterMap::new(&[11], Granularity::PerTensor).unwrap();
    for (element, expected) in ROUNDED {
        let parameters = [Parameters { scale: 1.0, zero_point: 3 }];
        assert_eq!(weight_codes(&values, &map, &parameters, *element).unwrap(), expected, "{element:?}");
    }
    assert_eq!(weight_codes(&values, &map, &[], INT8), Err(ParameterError::Shape));
}

/// `pack_bytes_to_4bit`, and NumPy's `tobytes`.
#[test]
fn codes_are_packed_little_endian_the_first_in_the_low_half() {
    assert_eq!(pack(&[1, -2, 7], INT4).unwrap(), [0xe1, 0x07]);
    assert_eq!(pack(&[15, 8], UINT4).unwrap(), [0x8f]);
    assert_eq!(pack(&[-1, 5], INT8).unwrap(), [0xff, 0x05]);
    assert_eq!(pack(&[-2, 258], INT16).unwrap(), [0xfe, 0xff, 0x02, 0x01]);
}

/// `QDQQuantizer._adjust_weight_scale_for_int32_bias`, then the lines of `quantize_bias_static_impl`, for the input
/// scale 2e-3.
#[test]
fn biases_fit_int32_and_are_quantized_as_by_onnxruntime() {
    let bias = [1.0, -500.0, 0.0, 3e-3, 7.5];
    let mut scales = [1e-6, 2e-6, 1e-9, 3e-9, 1e-7];
    assert_eq!(raise_weight_scales(&mut scales, 2e-3, &bias, true), Ok(2));
    assert_eq!(scales, [1e-6, 0.00011642696, 1e-9, 3e-9, 1.7464043e-6]);
    let found = quantize_bias(&bias, 2e-3, &scales, 1.0).unwrap();
    assert_eq!(found.codes, [499_999_959, -2_147_268_842, 0, 499_999_970, 2_147_268_903]);
    assert_eq!(found.scales, [2.0000002e-9, 2.3285394e-7, 2e-12, 6.0000004e-12, 3.492809e-9]);
    let mut scales = [1e-7];
    assert_eq!(raise_weight_scales(&mut scales, 2e-3, &bias, false), Ok(1));
    assert_eq!(scales, [0.000116426956]);
    let found = quantize_bias(&bias, 2e-3, &scales, 1.0).unwrap();
    assert_eq!(found.codes, [4_294_538, -2_147_268_974, 0, 12_884, 32_209_035]);
    assert_eq!((found.scales, found.clamped_count), (vec![2.3285392e-7], 0));
    let mut scales = [1e-2];
    assert_eq!(raise_weight_scales(&mut scales, 2e-3, &bias, false), Ok(0));
    assert_eq!(quantize_bias(&bias, 1e-9, &[1e-6], 1.0).unwrap().clamped_count, 4);
    assert_eq!(quantize_bias(&bias, 1.0, &[1.0, 2.0], 1.0), Err(ParameterError::Shape));
}

/// `MinMaxCalibrater.collect_data` twice: with `noise(3000, 1.7, 0.05, 1234)` in batches of 7, then
/// `noise(7001, 12.0, 0.3, 50000)` in batches of 500.
#[test]
fn min_max_ranges_are_those_of_onnxruntime() {
    let cases = [
        ((false, None, None), (-1.1991361, 1.7999758)),
        ((true, None, None), (-1.7999758, 1.7999758)),
        ((false, Some(0.01), None), (-0.092419736, 0.19869757)),
        ((true, Some(0.3), None), (-0.6549977, 0.6549977)),
        ((false, None, Some(4)), (-1.1966466, 1.7926849)),
        ((false, Some(0.01), Some(5)), (-0.08502818, 0.17152795)),
    ];
    for ((is_symmetric, averaging_constant, max_batches), (low, high)) in cases {
        let options = MinMaxOptions { is_symmetric, averaging_constant, max_batches };
        let mut min_max = MinMax::new(options).unwrap();
        for (values, size) in [(noise(3000, 1.7, 0.05, 1234), 7), (noise(7001, 12.0, 0.3, 50_000), 500)] {
            for batch in values.chunks(size) {
                batch.chunks(3).for_each(|piece| min_max.add(piece));
                min_max.end_batch();
            }
            min_max.end_round();
        }
        assert_eq!(min_max.range(), Ok(ClipRange { low, high }), "{options:?}");
    }
    let none = MinMax::new(MinMaxOptions::default()).unwrap();
    assert_eq!(none.range(), Err(CalibrationError::NoValues));
}
