//! Weights alone: blocks as onnxruntime 1.31.1 makes them with `quantize_matmul_2bits`, `_4bits` and `_8bits` and
//! `quantize_qdq_matmul_4bits`, the kernels of its `MatMulNBitsQuantizer`; clipping held against an exhaustive search.
//!
//! The weights are those of `noise` in `calibration_parameters.rs`.

use qp_analysis::calibration::matmul_nbits::{blocked_weight, matmul_nbits, matmul_nbits_of};
use qp_analysis::calibration::weights::{WeightOptions, weight_codes, weight_parameters};
use qp_analysis::calibration::{Parameters, clipped_weight_parameters};
use qp_analysis::{ElementType, Granularity, ParameterMap};

fn noise(count: u64, scale: f64, offset: f64, seed: u64) -> Vec<f32> {
    (seed..seed + count)
        .map(|index| (index * 2_654_435_761 % (1 << 32)) as f64 / 2f64.powi(32) - 0.5)
        .map(|unit| (unit * unit * unit * scale + offset) as f32)
        .collect()
}

/// `noise(K * N, 1.0, 0.01, seed=K).reshape(K, N)`, the first block of column 0 all 0, that of column 1 not below 0.
fn weight([rows, columns]: [usize; 2], block_size: usize) -> Vec<f32> {
    let mut weight = noise((rows * columns) as u64, 1.0, 0.01, rows as u64);
    for row in weight.chunks_mut(columns).take(block_size) {
        row[0] = 0.0;
        row[1] = row[1].abs();
    }
    weight
}

/// Σ byte[i] · (i % 97 + 1).
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().enumerate().map(|(index, byte)| u64::from(*byte) * (index as u64 % 97 + 1)).sum()
}

/// The same of the scales' bits, modulo 1000003.
fn scale_digest(scales: &[f32]) -> u64 {
    let bits = scales.iter().map(|scale| u64::from(scale.to_bits()) % 1_000_003);
    bits.enumerate().map(|(index, bits)| bits * (index as u64 % 97 + 1)).sum()
}

/// Shape, block size, bits, symmetric; the digests of codes, scales and zero points.
type OperatorCase = ([usize; 2], usize, u8, bool, u64, u64, u64);

#[rustfmt::skip]
const OPERATOR: &[OperatorCase] = &[
    ([64, 5], 32, 2, true, 511118, 30286181, 0),
    ([64, 5], 32, 2, false, 345896, 14053983, 2489),
    ([64, 5], 32, 4, true, 873530, 25319220, 0),
    ([64, 5], 32, 4, false, 828573, 19373301, 1798),
    ([64, 5], 32, 8, true, 1753296, 22385319, 0),
    ([64, 5], 32, 8, false, 1673126, 17853765, 6222),
    ([72, 3], 16, 2, true, 245934, 62039683, 0),
    ([72, 3], 16, 2, false, 189886, 51543514, 2951),
    ([72, 3], 16, 4, true, 564125, 50556934, 0),
    ([72, 3], 16, 4, false, 547877, 31233742, 5400),
    ([72, 3], 16, 8, true, 1041070, 62591541, 0),
    ([72, 3], 16, 8, false, 1113106, 56602966, 13147),
    ([256, 4], 128, 2, true, 1730047, 23459471, 0),
    ([256, 4], 128, 2, false, 929238, 24142125, 1647),
    ([256, 4], 128, 4, true, 2954049, 13258642, 0),
    ([256, 4], 128, 4, false, 2596008, 9929461, 1169),
    ([256, 4], 128, 8, true, 5692271, 18857062, 0),
    ([256, 4], 128, 8, false, 5158857, 17264151, 3750),
    ([40, 4], 32, 2, true, 174383, 15072800, 0),
    ([40, 4], 32, 2, false, 118836, 27647582, 1651),
    ([40, 4], 32, 4, true, 340282, 22872025, 0),
    ([40, 4], 32, 4, false, 296301, 19962219, 926),
    ([40, 4], 32, 8, true, 713618, 11470394, 0),
    ([40, 4], 32, 8, false, 598002, 23698859, 3159),
];

#[test]
fn blocks_of_matmul_nbits_are_those_of_onnxruntime() {
    for (shape, block_size, bits, is_symmetric, codes, scales, zero_points) in OPERATOR {
        let weight = weight(*shape, *block_size);
        let found = matmul_nbits(&weight, shape[0], shape[1], *bits, *block_size, *is_symmetric).unwrap();
        let what = format!("{shape:?} {bits} {is_symmetric}");
        assert_eq!(digest(&found.codes), *codes, "{what}");
        assert_eq!(scale_digest(&found.scales), *scales, "{what}");
        assert_eq!(found.zero_points.map_or(0, |zero_points| digest(&zero_points)), *zero_points, "{what}");
    }
    assert!(matmul_nbits(&[0.0; 32], 32, 1, 3, 16, true).is_err());
    assert!(matmul_nbits(&[f32::NAN; 32], 32, 1, 4, 16, true).is_err());
}

/// Codes and parameters taken from what [`matmul_nbits`] made.
#[test]
fn known_codes_are_laid_out_alike() {
    let (rows, columns, block_size, bits) = (72, 3, 16, 4);
    let weight = weight([rows, columns], block_size);
    for is_symmetric in [false, true] {
        let whole = matmul_nbits(&weight, rows, columns, bits, block_size, is_symmetric).unwrap();
        let half = |bytes: &[u8], index: usize| i32::from(bytes[index / 2] >> (index % 2 * 4) & 15);
        let bytes = whole.blocks * block_size / 2;
        let code = |index: usize| half(&whole.codes[index / rows * bytes..], index % rows);
        let codes: Vec<i32> = (0..rows * columns).map(code).collect();
        let zero_point = |index: usize| match &whole.zero_points {
            Some(bytes) => half(&bytes[index / 5 * 3..], index % 5),
            None => 8,
        };
        let parameter =
            |(index, scale): (usize, &f32)| Parameters { scale: *scale, zero_point: zero_point(index) };
        let parameters: Vec<Parameters> = whole.scales.iter().enumerate().map(parameter).collect();
        assert_eq!(matmul_nbits_of(&codes, &parameters, rows, bits, block_size), Ok(whole));
    }
    let parameters = [Parameters { scale: 1.0, zero_point: 8 }];
    assert!(matmul_nbits_of(&[16], &parameters, 1, 4, 16).is_err());
    assert!(matmul_nbits_of(&[15, 1], &parameters, 1, 4, 16).is_err());
}

/// Shape, block size, symmetric; the digests of codes, scales and zero points.
type QdqCase = ([usize; 2], usize, bool, u64, u64, u64);

#[rustfmt::skip]
const QDQ: &[QdqCase] = &[
    ([64, 5], 32, true, 895940, 27162061, 0),
    ([64, 5], 32, false, 760008, 19513934, 1683),
    ([72, 3], 16, true, 664656, 49304212, 0),
    ([72, 3], 16, false, 614295, 31893550, 3361),
    ([33, 3], 16, true, 151414, 20040566, 0),
    ([33, 3], 16, false, 155277, 17087086, 626),
    ([40, 4], 40, true, 549848, 5295631, 0),
    ([40, 4], 40, false, 324144, 6672758, 238),
];

#[test]
fn blocks_for_dequantize_linear_are_those_of_onnxruntime() {
    for (shape, block_size, is_symmetric, codes, scales, zero_points) in QDQ {
        let weight = weight(*shape, *block_size);
        let found = blocked_weight(&weight, shape[0], shape[1], *block_size, *is_symmetric).unwrap();
        let what = format!("{shape:?} {is_symmetric}");
        assert_eq!(digest(&found.codes), *codes, "{what}");
        assert_eq!(scale_digest(&found.scales), *scales, "{what}");
        assert_eq!(found.zero_points.map_or(0, |zero_points| digest(&zero_points)), *zero_points, "{what}");
    }
}

/// The squared error summed over `noise(1536, 1.0, 0.002, 777).reshape(6, 256)` with one outlier, for the best of 1,960
/// shares of each range, found with NumPy, and for the whole range.
#[test]
fn clipped_weights_have_no_more_error_than_an_exhaustive_search_finds() {
    let mut values = noise(1536, 1.0, 0.002, 777);
    values[2 * 256 + 5] = 0.9;
    let (tensor, channel) = (Granularity::PerTensor, Granularity::PerChannel { axis: 0 });
    let cases = [
        (4, true, tensor, 0.5154784752659277, 1.0457267986920482),
        (4, true, channel, 0.17909805734049228, 0.20017230065870212),
        (4, false, tensor, 0.279681568165845, 0.402513106063967),
        (4, false, channel, 0.08375104975742209, 0.08988082599362567),
        (8, true, tensor, 0.006337092311497437, 0.006382595551091028),
        (8, true, channel, 0.0011797433576923274, 0.001183869883470051),
    ];
    for (bits, is_symmetric, granularity, best, widest) in cases {
        let element = ElementType::Int { bits, is_signed: is_symmetric };
        let options = WeightOptions { element, is_symmetric, is_reduced: false, min_real_range: None };
        let map = ParameterMap::new(&[6, 256], granularity).unwrap();
        let error = |parameters: &[Parameters]| {
            let codes = weight_codes(&values, &map, parameters, element).unwrap();
            let rest = |(index, code): (usize, &i32)| {
                let found = parameters[map.parameter_of(index as u64).unwrap()];
                f64::from(values[index]) - f64::from(found.scale) * f64::from(code - found.zero_point)
            };
            codes.iter().enumerate().map(rest).map(|rest| rest * rest).sum::<f64>()
        };
        let found = error(&weight_parameters(&values, &map, false, options).unwrap());
        assert!((found - widest).abs() <= 1e-6 * widest, "{bits} {granularity:?}: {found} {widest}");
        let found = error(&clipped_weight_parameters(&values, &map, options).unwrap());
        assert!(found <= 1.002 * best, "{bits} {granularity:?}: {found} {best}");
    }
}

/// The elements that share parameters need not be next to each other.
#[test]
fn clipping_finds_the_channels_of_any_axis() {
    let options = WeightOptions {
        element: ElementType::Int { bits: 4, is_signed: true },
        is_symmetric: true,
        is_reduced: false,
        min_real_range: None,
    };
    let values = noise(60, 1.0, 0.0, 5);
    let transposed: Vec<f32> = (0..60).map(|index| values[index % 5 * 12 + index / 5]).collect();
    let map = |shape: &[u64], axis| ParameterMap::new(shape, Granularity::PerChannel { axis }).unwrap();
    let rows = clipped_weight_parameters(&values, &map(&[5, 12], 0), options).unwrap();
    assert_eq!(clipped_weight_parameters(&transposed, &map(&[12, 5], 1), options).unwrap(), rows);
}
