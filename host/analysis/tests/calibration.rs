//! The numbers that onnxruntime 1.31.1 computes in `onnxruntime/quantization`, with NumPy 2.4.6, for the same values.
//!
//! ```python
//! def noise(n, scale, offset=0.0, seed=0):
//!     i = np.arange(seed, seed + n, dtype=np.uint64)
//!     u = (i * 2654435761 % 2**32).astype(np.float64) / 2**32 - 0.5
//!     return (u * u * u * scale + offset).astype(np.float32)
//! A = noise(20011, 8.0); B = noise(7001, 12.0, 0.3, 50000); C = noise(3001, 2.0, seed=90000)
//! R = np.maximum(A, 0); Z = np.zeros(100, np.float32); P = np.abs(B) + np.float32(1)
//! N = C.copy(); N[::7] = np.nan
//! ```

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use HistogramKind::{Magnitudes, Values};
use Method::{Entropy, Percentile};
use proptest::collection::vec;
use proptest::prelude::*;
use qp_analysis::calibration::{
    CalibrationError, ClipRange, Extremes, HistogramCollector, HistogramKind, Scenario, distribution,
    entropy, mse, parameters, percentile,
};
use qp_analysis::{Arithmetic, CodeRange, Quantizer};

fn noise(count: u64, scale: f64, offset: f64, seed: u64) -> Vec<f32> {
    (seed..seed + count)
        .map(|index| (index * 2_654_435_761 % (1 << 32)) as f64 / 2f64.powi(32) - 0.5)
        .map(|unit| (unit * unit * unit * scale + offset) as f32)
        .collect()
}

fn series(name: char) -> Vec<f32> {
    let mapped = |values: Vec<f32>, map: fn(f32) -> f32| values.into_iter().map(map).collect();
    match name {
        'A' => noise(20_011, 8.0, 0.0, 0),
        'B' => noise(7_001, 12.0, 0.3, 50_000),
        'C' => noise(3_001, 2.0, 0.0, 90_000),
        'R' => mapped(series('A'), |value| value.max(0.0)),
        'Z' => vec![0.0; 100],
        'P' => mapped(series('B'), |value| value.abs() + 1.0),
        'N' => {
            let mut values = series('C');
            values.iter_mut().step_by(7).for_each(|value| *value = f32::NAN);
            values
        }
        _ => panic!("no series {name}"),
    }
}

/// Each round in two passes, in pieces of 1,000 values.
fn collected(kind: HistogramKind, rounds: &str, bins: usize) -> HistogramCollector {
    let mut histogram = HistogramCollector::new(kind, bins);
    for values in rounds.chars().map(series) {
        let mut extremes = Extremes::new();
        values.chunks(1000).for_each(|piece| extremes.add(piece));
        histogram.begin(&extremes).unwrap();
        values.chunks(1000).for_each(|piece| histogram.add(piece));
    }
    histogram
}

enum Method {
    Percentile(f64),
    Entropy(usize),
}

/// Method, what is counted, the rounds, the bins of the first; the bins in the end, Σ counts, Σ counts · (bin + 1);
/// the edges 0, 1, bins // 3, -2 and -1; the range. With `HistogramCollector(method, symmetric, bins,
/// num_quantized_bins, percentile, "same")`, `collect` for each round and `compute_collection_result`.
type Case = (Method, HistogramKind, &'static str, usize, [u64; 3], [f32; 5], [f32; 2]);

#[rustfmt::skip]
const CASES: &[Case] = &[
    (Percentile(99.999), Values, "A", 2048, [2048, 20011, 20498983], [-1.0, -0.99902344, -0.33398438, 0.99902344, 1.0], [-1.0, 0.99902344]),
    (Percentile(99.0), Values, "A", 100, [100, 20011, 1010446], [-1.0, -0.98, -0.34000003, 0.9799999, 1.0], [-0.98, 0.9599999]),
    (Percentile(99.999), Values, "AB", 2048, [3688, 27012, 51972904], [-1.8007812, -1.7998047, -0.60058594, 1.7998047, 1.8007812], [-1.1991361, 1.7998047]),
    (Percentile(99.0), Values, "AB", 100, [180, 27012, 2549542], [-1.8, -1.78, -0.6, 1.78, 1.8], [-1.04, 1.6199999]),
    (Percentile(99.999), Values, "CABC", 2048, [14748, 33014, 252060236], [-1.8000276, -1.7997835, -0.6000092, 1.7997835, 1.8000276], [-1.1991361, 1.7997835]),
    (Percentile(99.0), Values, "CABC", 100, [722, 33014, 12354506], [-1.8047339, -1.7997346, -0.60491085, 1.7997345, 1.8047339], [-1.0048518, 1.5947648]),
    (Percentile(99.999), Values, "RB", 2048, [3688, 27012, 54542667], [-1.8001299, -1.7991537, -0.6003686, 1.7991538, 1.8001299], [-1.1991361, 1.7991538]),
    (Percentile(99.0), Values, "RB", 100, [182, 27012, 2707644], [-1.8193418, -1.7993491, -0.6197758, 1.799349, 1.8193418], [-1.0396239, 1.6194142]),
    (Percentile(99.999), Values, "Z", 2048, [2048, 100, 102500], [-0.5, -0.49951172, -0.16699219, 0.49951172, 0.5], [0.0, 0.0]),
    (Percentile(99.0), Values, "Z", 100, [100, 100, 5100], [-0.5, -0.49, -0.17000002, 0.48999995, 0.5], [0.0, 0.0]),
    (Percentile(99.999), Values, "ZA", 2048, [2048, 20111, 20601483], [-1.0, -0.99902344, -0.33398438, 0.99902344, 1.0], [-1.0, 0.99902344]),
    (Percentile(99.0), Values, "ZA", 100, [100, 20111, 1015546], [-1.0, -0.98, -0.34000003, 0.9799999, 1.0], [-0.98, 0.9599999]),
    (Percentile(99.999), Values, "AN", 2048, [2048, 22583, 23134882], [-1.0, -0.99902344, -0.33398438, 0.99902344, 1.0], [-1.0, 0.99902344]),
    (Percentile(99.0), Values, "AN", 100, [100, 22583, 1140377], [-1.0, -0.98, -0.34000003, 0.9799999, 1.0], [-0.98, 0.9599999]),
    (Percentile(99.999), Values, "PA", 2048, [2048, 27012, 31530578], [-2.7999759, -2.7972414, -0.93514824, 2.7972417, 2.7999759], [-1.0, 2.7972417]),
    (Percentile(99.0), Values, "PA", 100, [100, 27012, 1552719], [-2.7999759, -2.7439764, -0.9519918, 2.743976, 2.7999759], [-1.0, 2.6319776]),
    (Percentile(99.999), Magnitudes, "A", 2048, [2048, 20011, 10257137], [7.0785646e-15, 0.00048828125, 0.3330078, 0.9995117, 1.0], [-0.9995117, 0.9995117]),
    (Percentile(99.0), Magnitudes, "A", 100, [100, 20011, 511519], [7.0785646e-15, 0.01, 0.32999998, 0.98999995, 1.0], [-0.96999997, 0.96999997]),
    (Percentile(99.999), Magnitudes, "AB", 2048, [3687, 27012, 17524756], [7.0785646e-15, 0.00048828125, 0.60009766, 1.7998047, 1.800293], [-1.1991361, 1.7998047]),
    (Percentile(99.0), Magnitudes, "AB", 100, [180, 27012, 869726], [7.0785646e-15, 0.01, 0.59999996, 1.7899992, 1.7999992], [-1.1991361, 1.4699996]),
    (Percentile(99.999), Magnitudes, "CABC", 2048, [14749, 33011, 73147627], [2.9373413e-12, 0.00012205231, 0.59997535, 1.8000729, 1.800195], [-1.1991361, 1.7999508]),
    (Percentile(99.0), Magnitudes, "CABC", 100, [721, 33011, 3588426], [2.9373413e-12, 0.0024996314, 0.59991276, 1.7997209, 1.8022205], [-1.1991361, 1.4122859]),
    (Percentile(99.999), Magnitudes, "RB", 2048, [3688, 27012, 12408300], [0.0, 0.00048810465, 0.59988064, 1.7997359, 1.8002241], [-1.1991361, 1.7997359]),
    (Percentile(99.0), Magnitudes, "RB", 100, [181, 27012, 624198], [0.0, 0.009996383, 0.599783, 1.7993515, 1.8093479], [-1.1991361, 1.4694698]),
    (Percentile(99.999), Magnitudes, "Z", 2048, [2048, 100, 102500], [-0.5, -0.49951172, -0.16699219, 0.49951172, 0.5], [-0.0, 0.0]),
    (Percentile(99.0), Magnitudes, "Z", 100, [100, 100, 5100], [-0.5, -0.49, -0.17000002, 0.48999995, 0.5], [-0.0, 0.0]),
    (Percentile(99.999), Magnitudes, "ZA", 2048, [3072, 20111, 30850901], [-0.5, -0.49951172, 0.0, 0.9995117, 1.0], [-0.9995117, 0.9995117]),
    (Percentile(99.0), Magnitudes, "ZA", 100, [151, 20111, 1517171], [-0.5, -0.49, 0.0, 0.9999995, 1.0099995], [-0.96999955, 0.96999955]),
    (Percentile(99.999), Magnitudes, "AN", 2048, [2048, 22583, 10587762], [7.0785646e-15, 0.00048828125, 0.3330078, 0.9995117, 1.0], [-0.9995117, 0.9995117]),
    (Percentile(99.0), Magnitudes, "AN", 100, [100, 22583, 529119], [7.0785646e-15, 0.01, 0.32999998, 0.98999995, 1.0], [-0.96, 0.96]),
    (Percentile(99.999), Magnitudes, "PA", 2048, [2048, 7001, 4038169], [1.0001811, 1.0010599, 1.5995269, 2.799097, 2.7999759], [-1.0, 2.799097]),
    (Percentile(99.0), Magnitudes, "PA", 100, [100, 7001, 200397], [1.0001811, 1.018179, 1.5941133, 2.7819781, 2.7999759], [-1.0, 2.7099862]),
    (Entropy(128), Values, "A", 128, [128, 20011, 1290568], [-1.0, -0.984375, -0.34375, 0.984375, 1.0], [-1.0, 0.9996383]),
    (Entropy(128), Values, "A", 2048, [2048, 20011, 20498983], [-1.0, -0.99902344, -0.33398438, 0.99902344, 1.0], [-1.0, 0.9996383]),
    (Entropy(64), Values, "A", 513, [513, 20011, 5142255], [-1.0, -0.9961014, -0.3333333, 0.9961014, 1.0], [-1.0, 0.9996383]),
    (Entropy(128), Values, "AB", 128, [232, 27012, 3281423], [-1.8125, -1.796875, -0.609375, 1.796875, 1.8125], [-1.0, 1.015625]),
    (Entropy(64), Values, "AB", 513, [925, 27012, 13044938], [-1.803119, -1.7992203, -0.60233927, 1.7992203, 1.803119], [-1.1991361, 1.7641325]),
    (Entropy(128), Values, "CABC", 128, [922, 33014, 15773249], [-1.8005157, -1.79661, -0.6014737, 1.7966101, 1.8005157], [-1.1991361, 1.7653646]),
    (Entropy(128), Values, "R", 128, [128, 20011, 1456491], [-0.9996383, -0.984019, -0.34362566, 0.9840189, 0.9996383], [0.0, 0.9996383]),
    (Entropy(128), Values, "R", 2048, [2048, 20011, 23068022], [-0.9996383, -0.9986621, -0.33386356, 0.9986621, 0.9996383], [0.0, 0.9996383]),
    (Entropy(64), Values, "R", 513, [513, 20011, 5784340], [-0.9996383, -0.99574107, -0.33321273, 0.9957411, 0.9996383], [0.0, 0.9996383]),
    (Entropy(128), Values, "RB", 128, [232, 27012, 3447383], [-1.8118445, -1.7962251, -0.6091546, 1.7962252, 1.8118445], [-0.9996383, 1.0152577]),
    (Entropy(64), Values, "RB", 513, [925, 27012, 13687178], [-1.8024668, -1.7985696, -0.60212135, 1.7985696, 1.8024668], [-1.1991361, 1.7479056]),
    (Entropy(128), Values, "NA", 128, [514, 22583, 5814773], [-1.0037582, -0.99985254, -0.33588797, 0.99985266, 1.0037582], [-1.0, 0.9996383]),
];

#[test]
fn histograms_and_clip_ranges_are_those_of_onnxruntime() {
    for (method, kind, rounds, bins, [count, sum, moment], edges, [low, high]) in CASES {
        let histogram = collected(*kind, rounds, *bins);
        let counts = histogram.counts();
        let what = format!("{rounds} {kind:?} {bins}");
        assert_eq!(counts.len() as u64, *count, "{what}");
        let found = [0, 1, counts.len() / 3, counts.len() - 1, counts.len()];
        assert_eq!(found.map(|index| histogram.edges()[index]), *edges, "{what}");
        assert_eq!(counts.iter().sum::<u64>(), *sum, "{what}");
        assert_eq!((1..).zip(&counts).map(|(index, count)| index * count).sum::<u64>(), *moment, "{what}");
        let range = match method {
            Percentile(share) => percentile(&histogram, *share),
            Entropy(quantized_bins) => entropy(&histogram, *quantized_bins),
        };
        assert_eq!(range, Ok(ClipRange { low: *low, high: *high }), "{what}");
    }
}

/// Mean and standard deviation of `_avg_std`, as `compute_distribution` uses it.
#[test]
fn distributions_are_those_of_onnxruntime() {
    let cases = [
        ("A", 2048, Scenario::Same, -0.00011158413690282032, 0.3780030906200409),
        ("A", 1000, Scenario::ThirdPower, -9.804223373066634e-05, 0.5779115557670593),
        ("AB", 2048, Scenario::Same, 0.07770237326622009, 0.4543892443180084),
        ("AB", 1000, Scenario::ThirdPower, 0.11459723114967346, 0.6237625479698181),
    ];
    for (rounds, bins, scenario, mean, standard_deviation) in cases {
        let found = distribution(&collected(Values, rounds, bins), scenario).unwrap();
        let close = |found: f32, expected: f64| (f64::from(found) - expected).abs() <= 2e-7 * expected.abs();
        assert!(close(found.standard_deviation, standard_deviation), "{found:?}");
        // A small difference of large sums.
        assert!((f64::from(found.mean) - mean).abs() <= 1e-9, "{found:?}");
    }
    let few = collected(Values, "A", 100);
    assert_eq!(distribution(&few, Scenario::Same), Err(CalibrationError::TooFewBins(100)));
}

/// The mean squared error of the best of all ranges from a grid, found with NumPy by quantizing the values themselves,
/// and that of the range of all values: `best` in steps of 0.2 % of the largest magnitude for symmetric ranges, of
/// 2 % of each end for others.
#[test]
fn mse_finds_a_range_about_as_good_as_an_exhaustive_search() {
    let cases = [
        ('A', -127, 127, true, 4.6757732604362645e-06, 4.721664967694159e-06),
        ('A', 0, 255, false, 4.677814298573939e-06, 4.677814298573939e-06),
        ('A', -8, 7, true, 0.0011010943720853933, 0.001152266850886104),
        ('B', 0, 255, false, 1.1726973668150986e-05, 1.3180026383960306e-05),
        ('B', -8, 7, true, 0.004575371201473704, 0.004575371201473704),
        ('B', 0, 15, false, 0.0030210524375217803, 0.004557268386881602),
        ('R', -127, 127, true, 2.334586053656793e-06, 2.3569979049155288e-06),
        ('R', 0, 255, false, 5.958126493094483e-07, 5.958126493094483e-07),
        ('R', 0, 15, false, 0.00014209075210725342, 0.00015243224412944215),
    ];
    for (name, qmin, qmax, is_symmetric, best, widest) in cases {
        let codes = CodeRange::new(qmin, qmax).unwrap();
        let values: Vec<f64> = series(name).into_iter().map(f64::from).collect();
        let error_of = |range| {
            let affine = parameters(range, codes, is_symmetric, None).unwrap().into();
            let quantizer = Quantizer::new(affine, codes).with_arithmetic(Arithmetic::Float32Division);
            let error = |value: &f64| (value - quantizer.fake_quantize(*value)).powi(2);
            values.iter().map(error).sum::<f64>() / values.len() as f64
        };
        let histogram = collected(Values, &name.to_string(), 2048);
        let (low, high) = histogram.extremes().unwrap();
        let found = error_of(ClipRange { low, high });
        assert!((found - widest).abs() <= 1e-6 * widest, "{name} {qmax}: {found}");
        let found = error_of(mse(&histogram, codes, is_symmetric).unwrap());
        assert!(found <= best * 1.005, "{name} {qmax}: {found} {best}");
    }
}

#[test]
fn what_cannot_be_calibrated_is_an_error() {
    let mut histogram = HistogramCollector::new(Values, 128);
    assert_eq!(percentile(&histogram, 99.0), Err(CalibrationError::NoValues));
    assert_eq!(histogram.collect(&[1.0, f32::INFINITY]), Err(CalibrationError::NotFinite));
    histogram.collect(&[1e-6, -1e-6]).unwrap();
    assert!(matches!(histogram.collect(&[1.0]), Err(CalibrationError::TooManyBins(_))));
    assert_eq!(histogram.counts().iter().sum::<u64>(), 2);
    assert_eq!(percentile(&histogram, 101.0), Err(CalibrationError::Percentile(101.0)));
    assert_eq!(entropy(&histogram, 512), Err(CalibrationError::TooFewBins(128)));
    let mut magnitudes = HistogramCollector::new(Magnitudes, 128);
    assert_eq!(magnitudes.collect(&[1.0, f32::NAN]), Err(CalibrationError::NotFinite));
    magnitudes.collect(&[1.0, 2.0]).unwrap();
    assert_eq!(entropy(&magnitudes, 128), Err(CalibrationError::Magnitudes));
}

proptest! {
    /// Pieces of any size give what the whole gives, and every value is in the bin whose edges are around it.
    #[test]
    fn every_value_is_counted_between_its_edges(
        values in vec(prop_oneof![-3.0f32..3.0, Just(0.0), Just(f32::NAN), -1e-3f32..1e-3], 1..300),
        scale in prop_oneof![Just(1.0f32), 1e-30f32..1e30],
        bins in 1usize..3000,
        size in 1usize..50,
    ) {
        let values: Vec<f32> = values.iter().map(|value| value * scale).collect();
        let mut histogram = HistogramCollector::new(Values, bins);
        histogram.begin(&Extremes::of(&values)).unwrap();
        values.chunks(size).for_each(|piece| histogram.add(piece));
        let edges = histogram.edges();
        let mut counts = vec![0; edges.len().saturating_sub(1)];
        for value in values.iter().filter(|value| !value.is_nan()) {
            let bin = edges.partition_point(|edge| edge <= value);
            counts[bin.clamp(1, edges.len() - 1) - 1] += 1;
        }
        prop_assert_eq!(histogram.counts(), counts);
    }

    /// However later rounds grow the bins, no value is lost, and the range stays within the values.
    #[test]
    fn later_rounds_lose_no_values(
        rounds in vec(vec(-1.0f32..1.0, 1..50), 1..4),
        factor in 1.0f32..20.0,
        bins in 2usize..300,
    ) {
        let mut histogram = HistogramCollector::new(Values, bins);
        let mut all = Extremes::new();
        let mut scale = 1.0;
        for values in &rounds {
            let values: Vec<f32> = values.iter().map(|value| value * scale).collect();
            if histogram.collect(&values).is_err() {
                return Ok(());
            }
            all.add(&values);
            scale *= factor;
        }
        prop_assert_eq!(histogram.counts().iter().sum::<u64>(), all.count());
        let (min, max) = (all.min().unwrap(), all.max().unwrap());
        prop_assert_eq!(histogram.extremes(), Some((min, max)));
        for range in [percentile(&histogram, 99.0).unwrap(), mse(&histogram, CodeRange::new(-8, 7).unwrap(), false).unwrap()] {
            prop_assert!(range.low >= min.min(0.0) && range.high <= max.max(0.0), "{:?}", range);
        }
    }
}
