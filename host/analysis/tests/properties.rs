//! Properties that hold for any values, however they are cut into pieces.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::collection::vec;
use proptest::prelude::*;
use qp_analysis::{
    Affine, AffineList, Arithmetic, Bins, CodeRange, CodeUsage, EdgePrecision, ElementType, ErrorMetrics,
    Granularity, Histogram, ParameterMap, Quantizer, RangeCount, Statistics, ValueRange,
};

/// Values of many magnitudes, some of them special.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -1e3..1e3f64,
        2 => (-1e3..1e3f64).prop_map(|value| f64::from(value as f32)),
        2 => (-20..20i32).prop_map(f64::from),
        1 => -1e30..1e30f64,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
    ]
}

fn finite_value() -> impl Strategy<Value = f64> {
    prop_oneof![4 => -1e3..1e3f64, 1 => (-20..20i32).prop_map(f64::from)]
}

fn nearly(left: Option<f64>, right: Option<f64>, scale: f64) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => left == right || (left - right).abs() <= 1e-9 * scale,
        (left, right) => left == right,
    }
}

fn any_element() -> impl Strategy<Value = ElementType> {
    use ElementType::*;
    let ints = (prop_oneof![Just(2), Just(4), Just(8), Just(16), Just(32), Just(64)], any::<bool>())
        .prop_map(|(bits, is_signed)| Int { bits, is_signed });
    prop_oneof![
        4 => ints,
        4 => prop_oneof![
            Just(Float64), Just(Float32), Just(Float16), Just(BFloat16), Just(Float8E4M3Fn), Just(Float8E5M2),
            Just(Float8E4M3Fnuz), Just(Float8E5M2Fnuz), Just(Float8E8M0), Just(Float4E2M1), Just(Bool)
        ],
    ]
}

fn small_int() -> impl Strategy<Value = ElementType> {
    (prop_oneof![Just(2), Just(4), Just(8), Just(16)], any::<bool>())
        .prop_map(|(bits, is_signed)| ElementType::Int { bits, is_signed })
}

proptest! {
    #[test]
    fn statistics_do_not_depend_on_the_pieces(values in vec(value(), 0..3000), cuts in vec(0..3000usize, 0..4)) {
        let whole = Statistics::of(&values);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
        cuts.extend([0, values.len()]);
        cuts.sort_unstable();
        let mut merged = Statistics::new();
        let mut added = Statistics::new();
        for cut in cuts.windows(2) {
            merged.merge(&Statistics::of(&values[cut[0]..cut[1]]));
            added.add(&values[cut[0]..cut[1]]);
        }
        for other in [merged, added] {
            prop_assert_eq!(other.count(), values.len() as u64);
            prop_assert_eq!(other.nan_count(), whole.nan_count());
            prop_assert_eq!(other.positive_infinity_count(), whole.positive_infinity_count());
            prop_assert_eq!(other.negative_infinity_count(), whole.negative_infinity_count());
            prop_assert_eq!(other.zero_count(), whole.zero_count());
            prop_assert_eq!((other.min(), other.max()), (whole.min(), whole.max()));
            let size = whole.abs_max().unwrap_or(0.0);
            prop_assert!(nearly(other.mean(), whole.mean(), size));
            prop_assert!(nearly(other.standard_deviation(), whole.standard_deviation(), size));
        }
    }

    #[test]
    fn statistics_are_those_of_their_definitions(values in vec(finite_value(), 1..2000)) {
        let statistics = Statistics::of(&values);
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        prop_assert!(nearly(statistics.mean(), Some(mean), 1e3));
        prop_assert!(nearly(statistics.variance(), Some(variance), 1e6));
        prop_assert_eq!(statistics.min(), values.iter().copied().reduce(f64::min));
        prop_assert_eq!(statistics.max(), values.iter().copied().reduce(f64::max));
    }

    /// Types of 8 bits and fewer are counted by byte when there are enough elements; the result is the same.
    #[test]
    fn statistics_of_bytes_are_those_of_the_decoded_values(
        element in any_element(),
        bytes in vec(any::<u8>(), 0..6000),
        scale in 0.001..2.0f64,
        zero_point in -10..10i32,
    ) {
        let affine = Affine::new(scale, f64::from(zero_point));
        let count = element.elements_in(bytes.len());
        let mut found = Statistics::new();
        prop_assert_eq!(found.add_quantized(element, &bytes, count, affine), count);
        let values: Vec<f64> = element.decode(&bytes, count).map(|code| affine.dequantize(code)).collect();
        let expected = Statistics::of(&values);
        prop_assert_eq!(found.count(), expected.count());
        prop_assert_eq!(found.non_finite_count(), expected.non_finite_count());
        prop_assert_eq!(found.zero_count(), expected.zero_count());
        prop_assert_eq!((found.min(), found.max()), (expected.min(), expected.max()));
        let size = expected.abs_max().unwrap_or(0.0);
        if size < 1e150 {
            prop_assert!(nearly(found.mean(), expected.mean(), size));
            prop_assert!(nearly(found.standard_deviation(), expected.standard_deviation(), size));
        }
    }

    #[test]
    fn code_usage_is_the_set_of_codes(element in small_int(), bytes in vec(any::<u8>(), 0..3000), cut in 0..3000usize) {
        let mut whole = CodeUsage::new(element).unwrap();
        let count = whole.add_elements(&bytes, usize::MAX);
        let codes: Vec<i64> = element.decode(&bytes, count).map(|code| code as i64).collect();
        let set: std::collections::BTreeSet<i64> = codes.iter().copied().collect();
        prop_assert_eq!(whole.count(), codes.len() as u64);
        prop_assert_eq!(whole.used_count() as usize, set.len());
        prop_assert_eq!(whole.extremes(), set.first().copied().zip(set.last().copied()));
        let limits = CodeRange::of(element).unwrap();
        let at = |limit| codes.iter().filter(|code| **code == limit).count() as u64;
        prop_assert_eq!(whole.at_lowest_limit(), at(limits.min()));
        prop_assert_eq!(whole.at_highest_limit(), at(limits.max()));
        // Pieces end at even bytes, so that no 16-bit code is cut.
        let cut = cut.min(bytes.len()) / 2 * 2;
        let (mut left, mut right) = (CodeUsage::new(element).unwrap(), CodeUsage::new(element).unwrap());
        left.add_elements(&bytes[..cut], usize::MAX);
        right.add_elements(&bytes[cut..], usize::MAX);
        left.merge(&right).unwrap();
        prop_assert_eq!(left, whole);
    }

    /// The reference is a search among the edges: NumPy's definition of half-open bins.
    #[test]
    fn histogram_counts_are_those_of_a_search_among_the_edges(
        values in vec(value(), 0..500),
        low in -1e3..1e3f64,
        width in prop_oneof![Just(0.0), 1e-12..1e-6f64, 0.1..1e3f64],
        count in 1..300usize,
        precision in prop_oneof![
            Just(EdgePrecision::Float16), Just(EdgePrecision::Float32), Just(EdgePrecision::Float64)
        ],
        is_given in any::<bool>(),
    ) {
        let bins = if is_given {
            Bins::over(low, low + width, count, precision)
        } else {
            let stored = |value: f64| match precision {
                EdgePrecision::Float16 => half_of(value),
                EdgePrecision::Float32 => f64::from(value as f32),
                EdgePrecision::Float64 => value,
            };
            Bins::of_extremes(stored(low), stored(low + width), count, precision)
        };
        // Too narrow for so many bins.
        prop_assume!(bins.is_ok());
        let bins = bins.unwrap();
        let edges = bins.edges().to_vec();
        // Values on the edges, and their neighbours, are the ones that go astray.
        let values: Vec<f64> =
            values.into_iter().chain(edges.iter().flat_map(|edge| [*edge, edge.next_up(), edge.next_down()])).collect();
        let mut expected = vec![0u64; count];
        for value in values.iter().filter(|value| (edges[0]..=edges[count]).contains(value)) {
            let right_of = edges.partition_point(|edge| edge <= value);
            expected[right_of.clamp(1, count) - 1] += 1;
        }
        let mut histogram = Histogram::new(bins.clone());
        histogram.add(&values);
        prop_assert_eq!(histogram.counts(), expected);
        prop_assert_eq!(histogram.count(), values.len() as u64);
        for value in values {
            prop_assert_eq!(bins.index_of(value).is_some(), (edges[0]..=edges[count]).contains(&value));
        }
    }

    #[test]
    fn histograms_merge_to_the_whole(values in vec(value(), 0..500), cut in 0..500usize) {
        let bins = Bins::over(-900.0, 800.0, 37, EdgePrecision::Float32).unwrap();
        let cut = cut.min(values.len());
        let of = |values: &[f64]| {
            let mut histogram = Histogram::new(bins.clone());
            histogram.add(values);
            histogram
        };
        let mut merged = of(&values[..cut]);
        merged.merge(&of(&values[cut..])).unwrap();
        prop_assert_eq!(merged, of(&values));
    }

    #[test]
    fn error_metrics_do_not_depend_on_the_pieces(
        pairs in vec((value(), value()), 0..3000),
        cut in 0..3000usize,
    ) {
        let (reference, candidate): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let cut = cut.min(reference.len());
        let of = |reference: &[f64], candidate: &[f64]| {
            let mut errors = ErrorMetrics::new();
            errors.add(reference, candidate).unwrap();
            errors
        };
        let whole = of(&reference, &candidate);
        let mut merged = of(&reference[..cut], &candidate[..cut]);
        merged.merge(&of(&reference[cut..], &candidate[cut..]));
        prop_assert_eq!(merged.count(), whole.count());
        prop_assert_eq!(merged.agreeing_non_finite(), whole.agreeing_non_finite());
        prop_assert_eq!(merged.disagreeing_non_finite(), whole.disagreeing_non_finite());
        let (merged, whole) = (merged.metrics_of_finite_pairs(), whole.metrics_of_finite_pairs());
        prop_assert!(nearly(merged.sqnr_db, whole.sqnr_db, 1.0));
        prop_assert!(nearly(merged.cosine_similarity, whole.cosine_similarity, 1.0));
        prop_assert_eq!(merged.max_abs_error, whole.max_abs_error);
        prop_assert!(nearly(merged.mse, whole.mse, whole.mse.unwrap_or(0.0)));
    }

    #[test]
    fn what_is_quantized_once_stays_where_it_is(
        value in -1e4..1e4f64,
        scale in 1e-3..10.0f32,
        zero_point in -128..128i32,
        arithmetic in prop_oneof![
            Just(Arithmetic::Float64), Just(Arithmetic::Float32Division), Just(Arithmetic::Float32Reciprocal),
            Just(Arithmetic::Float32ReciprocalShifted)
        ],
    ) {
        let affine = Affine::new(f64::from(scale), f64::from(zero_point));
        let quantizer = Quantizer::new(affine, CodeRange::new(-128, 127).unwrap()).with_arithmetic(arithmetic);
        let once = quantizer.fake_quantize(value);
        prop_assert_eq!(quantizer.quantize(once), quantizer.quantize(value));
        prop_assert_eq!(quantizer.fake_quantize(once), once);
        let range = affine.representable_range(quantizer.codes()).unwrap();
        prop_assert!(range.contains(once));
        // Half a step inside the range, and a little for binary32.
        if range.contains(value) {
            prop_assert!((once - value).abs() <= f64::from(scale) * 0.5 + 1e-6 * value.abs().max(256.0 * f64::from(scale)));
        }
    }

    #[test]
    fn slices_are_quantized_as_single_values(values in vec(value(), 0..50), scale in 1e-3..10.0f64) {
        let quantizer = Quantizer::new(Affine::new(scale, 3.0), CodeRange::new(0, 255).unwrap());
        let mut codes = values.clone();
        quantizer.quantize_in_place(&mut codes);
        let mut faked = values.clone();
        quantizer.fake_quantize_in_place(&mut faked);
        for ((value, code), faked) in values.iter().zip(codes).zip(faked) {
            prop_assert_eq!(quantizer.quantize(*value) as f64, code);
            prop_assert_eq!(quantizer.fake_quantize(*value), faked);
        }
    }

    #[test]
    fn runs_give_each_element_the_parameters_that_belong_to_it(
        shape in vec(0..6u64, 0..4),
        axis in 0..4usize,
        block_size in 1..8u64,
        kind in 0..3,
        first in 0..40u64,
        len in 0..200usize,
    ) {
        let granularity = match kind {
            _ if shape.is_empty() => Granularity::PerTensor,
            0 => Granularity::PerTensor,
            1 => Granularity::PerChannel { axis: (axis % shape.len()) as i64 },
            _ => Granularity::PerBlock { axis: (axis % shape.len()) as i64, block_size },
        };
        let map = ParameterMap::new(&shape, granularity).unwrap();
        let mut next = first.min(map.element_count());
        for run in map.runs(first, len) {
            prop_assert!(run.len > 0);
            prop_assert_eq!(run.first_element, next);
            for offset in 0..run.len {
                let parameter = run.first_parameter + if run.advances { offset } else { 0 };
                prop_assert_eq!(map.parameter_of(next), Some(parameter));
                prop_assert!((parameter as u64) < map.parameter_count());
                next += 1;
            }
        }
        prop_assert_eq!(next, map.element_count().min(first.saturating_add(len as u64)).max(first.min(map.element_count())));
    }

    #[test]
    fn dequantizing_in_pieces_is_dequantizing_element_by_element(
        codes in vec((-128..128i32).prop_map(f64::from), 60),
        axis in -3..3i64,
        block_size in 1..5u64,
        is_block in any::<bool>(),
        zero_points in 0..3usize,
        cut in 0..60usize,
    ) {
        let granularity =
            if is_block { Granularity::PerBlock { axis, block_size } } else { Granularity::PerChannel { axis } };
        let map = ParameterMap::new(&[3, 4, 5], granularity).unwrap();
        let count = map.parameter_count() as usize;
        let scales: Vec<f64> = (1..=count).map(|index| index as f64 / 8.0).collect();
        let zeros: Vec<f64> = (0..[0, 1, count][zero_points]).map(|index| index as f64 - 3.0).collect();
        let parameters = AffineList::new(&scales, &zeros).unwrap();
        let mut found = codes.clone();
        let (left, right) = found.split_at_mut(cut);
        map.dequantize_in_place(0, left, parameters).unwrap();
        map.dequantize_in_place(cut as u64, right, parameters).unwrap();
        for (index, (code, value)) in codes.iter().zip(found).enumerate() {
            let affine = parameters.get(map.parameter_of(index as u64).unwrap()).unwrap();
            prop_assert_eq!(affine.dequantize(*code), value);
        }
    }

    #[test]
    fn every_value_is_inside_below_above_or_nan(values in vec(value(), 0..200), low in -100.0..100.0f64, width in 0.0..500.0f64) {
        let range = ValueRange::new(low, low + width).unwrap();
        let mut count = RangeCount::new();
        count.add(&values, range);
        prop_assert_eq!(count.inside(), values.iter().filter(|value| range.contains(**value)).count() as u64);
        prop_assert_eq!(count.inside() + count.below() + count.above() + count.nan_count(), values.len() as u64);
    }
}

fn half_of(value: f64) -> f64 {
    let mut bytes = Vec::new();
    ElementType::Float16.push(&mut bytes, value).unwrap();
    ElementType::Float16.get(&bytes, 0).unwrap()
}
