//! Numbers that NumPy gives for the same values.
//!
//! Expected numbers are those of NumPy 2.4.6, for the values from
//!
//! ```python
//! def noise(n, scale, offset, dtype):
//!     i = np.arange(n, dtype=np.uint64)
//!     u = (i * 2654435761 % 2**32).astype(np.float64) / 2**32 - 0.5
//!     return (u * scale + offset).astype(dtype)
//! ```

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use qp_analysis::{Bins, BinsError, EdgePrecision, ElementType, Histogram, Statistics};

fn noise(count: u64, scale: f64, offset: f64) -> Vec<f64> {
    (0..count)
        .map(|index| (index * 2_654_435_761 % (1 << 32)) as f64 / 2f64.powi(32) - 0.5)
        .map(|unit| unit * scale + offset)
        .collect()
}

/// The values as a tensor of this type would hold them, and its bytes. Integers are truncated, as by `astype`.
fn stored(element: ElementType, values: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        let value = if element.is_integer() { value.trunc() } else { *value };
        element.push(&mut bytes, value).unwrap();
    }
    bytes
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-12 * expected.abs()
}

const INT8: ElementType = ElementType::Int { bits: 8, is_signed: true };

#[test]
fn mean_and_standard_deviation_agree_even_beside_a_large_offset() {
    // mean, std, min, max and the number of zeros of `noise(...).astype(float64)`.
    let cases = [
        (
            ElementType::Float32,
            noise(100_003, 2.0, 0.0),
            [-5.8360206043512945e-06, 0.5773534462328765, -1.0, 0.9999946355819702],
            0,
        ),
        (
            ElementType::Float64,
            noise(100_003, 1.0, 1e6),
            [999999.999997082, 0.2886767231093848, 999999.5, 1000000.4999973115],
            0,
        ),
        (
            ElementType::Float64,
            noise(50_000, 1e-3, 1e9),
            // The standard deviation in fractions; NumPy gives 0.0002886795993061201.
            [1e9, 0.0002886795992032766, 999999999.9995, 1000000000.0005],
            0,
        ),
        (INT8, noise(5000, 200.0, -3.0), [-2.9948, 57.305165325300294, -103.0, 96.0], 50),
        (
            ElementType::Float32,
            noise(10, 1e30, 0.0),
            [-1.8847062622237274e+28, 2.9982778487400676e+29, -5.000000075237331e+29, 4.442718895644345e+29],
            0,
        ),
    ];
    for (element, values, [mean, standard_deviation, min, max], zeros) in cases {
        let mut statistics = Statistics::new();
        let bytes = stored(element, &values);
        assert_eq!(statistics.add_elements(element, &bytes, usize::MAX), values.len());
        assert!(close(statistics.mean().unwrap(), mean), "{element:?}: {statistics:?}");
        assert!(
            close(statistics.standard_deviation().unwrap(), standard_deviation),
            "{element:?}: {statistics:?}"
        );
        assert_eq!((statistics.min(), statistics.max()), (Some(min), Some(max)));
        assert_eq!((statistics.zero_count(), statistics.count()), (zeros, values.len() as u64));
    }
}

fn counts(element: ElementType, values: &[f64], bins: Bins) -> Vec<u64> {
    let mut histogram = Histogram::new(bins);
    histogram.add_elements(element, &stored(element, values), usize::MAX);
    histogram.counts().to_vec()
}

/// `np.histogram(x, bins=count, range=range)`.
fn over(element: ElementType, values: &[f64], count: usize, (low, high): (f64, f64)) -> Vec<u64> {
    counts(element, values, Bins::over(low, high, count, EdgePrecision::of(element)).unwrap())
}

/// `np.histogram(x, bins=count)`.
fn of_extremes(element: ElementType, values: &[f64], count: usize) -> Result<Vec<u64>, BinsError> {
    let mut statistics = Statistics::new();
    statistics.add_elements(element, &stored(element, values), usize::MAX);
    let (min, max) = (statistics.min().unwrap(), statistics.max().unwrap());
    let bins = Bins::of_extremes(min, max, count, EdgePrecision::of(element))?;
    Ok(counts(element, values, bins))
}

#[test]
fn counts_over_a_given_range() {
    use ElementType::{Float16, Float32, Float64};
    let expected = [8001, 8000, 8000, 8000, 7999, 8001, 8001, 7999, 8001, 8000];
    assert_eq!(over(Float32, &noise(100_003, 2.0, 0.0), 10, (-0.7, 0.9)), expected);
    assert_eq!(
        over(Float16, &noise(20_000, 2.0, 0.0), 10, (-0.7, 0.9)),
        [1602, 1603, 1598, 1601, 1598, 1601, 1599, 1600, 1602, 1602]
    );
    let tenths: Vec<f64> = (0..=10).map(|tenth| f64::from(tenth) / 10.0).collect();
    assert_eq!(over(Float64, &tenths, 10, (0.0, 1.0)), [1, 1, 2, 0, 1, 2, 1, 0, 1, 2]);
    let thirtieths: Vec<f64> = (0..=30).map(|part| f64::from(part) / 30.0).collect();
    assert_eq!(over(Float64, &thirtieths, 3, (0.0, 1.0)), [10, 10, 11]);
    assert_eq!(over(Float64, &[1.0, 2.0, 2.4, 2.6], 3, (2.0, 2.0)), [0, 1, 1]);
    assert_eq!(over(Float64, &[], 3, (0.0, 1.0)), [0, 0, 0]);
}

#[test]
fn counts_from_minimum_to_maximum() {
    use ElementType::{Float16, Float32, Float64};
    let ten = |element, values: &[f64]| of_extremes(element, values, 10).unwrap();
    assert_eq!(
        ten(Float32, &noise(100_003, 2.0, 0.0)),
        [10001, 9999, 10000, 10001, 10000, 10000, 10002, 10000, 10000, 10000]
    );
    assert_eq!(
        ten(Float16, &noise(20_000, 2.0, 0.0)),
        [2001, 1997, 1997, 2003, 2003, 1992, 2001, 2001, 2001, 2004]
    );
    assert_eq!(ten(INT8, &noise(5000, 200.0, -3.0)), [475, 501, 498, 501, 500, 525, 500, 500, 500, 500]);
    assert_eq!(of_extremes(Float64, &[3.0; 5], 4).unwrap(), [0, 0, 5, 0]);
    assert_eq!(of_extremes(Float32, &[0.1; 5], 4).unwrap(), [0, 0, 5, 0]);
    let subnormal = [0.0, 5e-324, 1e-323, 1.5e-323];
    assert_eq!(of_extremes(Float64, &subnormal, 2).unwrap(), [2, 2]);
}

/// Cases in which the type of the edges, and the type in which they were computed, decide.
#[test]
fn values_on_the_edges_fall_where_the_arrays_type_puts_them() {
    use ElementType::{Float32, Float64};
    let hundredths: Vec<f64> = (0..=100).map(|part| f64::from(part) / 100.0).collect();
    assert_eq!(over(Float64, &hundredths, 10, (0.0, 1.0)), [10, 10, 11, 9, 10, 11, 10, 9, 10, 11]);
    assert_eq!(over(Float32, &hundredths, 10, (0.0, 1.0)), [10, 10, 10, 10, 10, 10, 10, 10, 10, 11]);
    assert_eq!(of_extremes(Float32, &hundredths, 10).unwrap(), [10, 10, 10, 10, 10, 10, 10, 10, 11, 10]);
    assert_eq!(over(Float32, &[0.1, 0.2, 0.3], 2, (0.1, 0.3)), [1, 2]);
    assert_eq!(of_extremes(Float32, &[0.1, 0.2, 0.3], 2).unwrap(), [2, 1]);
    let ulps: Vec<f64> = (0..5).map(|ulp| 1.0 + f64::from(ulp) * f64::from(f32::EPSILON)).collect();
    assert_eq!(of_extremes(Float32, &ulps, 3).unwrap(), [1, 2, 2]);
    assert_eq!(of_extremes(Float32, &ulps, 4).unwrap(), [1, 1, 1, 2]);
}

#[test]
fn refuses_the_bins_that_numpy_refuses() {
    let too_narrow = of_extremes(ElementType::Float32, &[1e9; 5], 4).unwrap_err();
    assert!(matches!(too_narrow, BinsError::TooNarrow { count: 4, .. }), "{too_narrow}");
    assert!(of_extremes(ElementType::Float64, &[0.0, 1.5e-323], 5).is_err());
    let over = |low, high, count| Bins::over(low, high, count, EdgePrecision::Float64);
    assert!(matches!(over(0.0, 1.0, 0), Err(BinsError::Count(0))));
    for (low, high) in [(1.0, 0.0), (f64::NAN, 1.0), (0.0, f64::INFINITY), (f64::MIN, f64::MAX)] {
        assert!(matches!(over(low, high, 10), Err(BinsError::Range { .. })), "{low} {high}");
    }
}

#[test]
fn nan_infinities_and_what_lies_outside_are_counted_apart() {
    let mut histogram = Histogram::new(Bins::over(0.0, 1.0, 2, EdgePrecision::Float64).unwrap());
    histogram.add(&[
        0.0,
        0.5,
        1.0,
        -0.1,
        1.1,
        7.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NEG_INFINITY,
    ]);
    assert_eq!(histogram.counts(), [1, 2]);
    assert_eq!((histogram.below(), histogram.above(), histogram.nan_count()), (1, 2, 1));
    assert_eq!((histogram.positive_infinity_count(), histogram.negative_infinity_count()), (1, 2));
    assert_eq!((histogram.inside(), histogram.count()), (3, 10));
}
