//! Megabytes of `float32` activations a second that calibration collects, on one core:
//! `cargo bench -p qp-analysis --bench calibration`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints and may panic")]

use qp_analysis::calibration::matmul_nbits::matmul_nbits;
use qp_analysis::calibration::weights::{WeightOptions, weight_codes, weight_parameters};
use qp_analysis::calibration::{
    ChannelMeans, Extremes, HistogramCollector, HistogramKind, clipped_weight_parameters, code_range,
    entropy, mse, percentile,
};
use qp_analysis::{ElementType, Granularity, ParameterMap, quantile};

use std::hint::black_box;
use std::time::Instant;

const COUNT: usize = 4 << 20;
/// The values of one tensor of one sample.
const PIECE: usize = 1 << 18;
const RUNS: usize = 9;
const INT8: ElementType = ElementType::Int { bits: 8, is_signed: true };

fn measure(mut run: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    quantile(&seconds, 0.5).unwrap()
}

fn throughput(what: &str, run: impl FnMut()) {
    println!("{what:40} {:8.0} MB/s", 4.0 * COUNT as f64 / measure(run) / 1e6);
}

fn main() {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let values: Vec<f32> = (0..COUNT).map(|_| uniform() + uniform() + uniform() + uniform()).collect();
    let rectified: Vec<f32> = values.iter().map(|value| value.max(0.0)).collect();
    for (name, values) in [("normal", &values), ("after ReLU", &rectified)] {
        throughput(&format!("extremes, {name}"), || {
            let mut extremes = Extremes::new();
            values.chunks(PIECE).for_each(|piece| extremes.add(piece));
            black_box(extremes);
        });
        let extremes = Extremes::of(values);
        for (kind, bins) in
            [(HistogramKind::Values, 128), (HistogramKind::Values, 2048), (HistogramKind::Magnitudes, 2048)]
        {
            throughput(&format!("{kind:?} in {bins} bins, {name}"), || {
                let mut histogram = HistogramCollector::new(kind, bins);
                histogram.begin(&extremes).unwrap();
                values.chunks(PIECE).for_each(|piece| histogram.add(piece));
                black_box(histogram.counts());
            });
        }
        let mut histogram = HistogramCollector::new(HistogramKind::Values, 2048);
        histogram.collect(values).unwrap();
        let mut grown = HistogramCollector::new(HistogramKind::Magnitudes, 2048);
        grown.collect(&values[..100]).unwrap();
        throughput(&format!("Magnitudes in uneven bins, {name}"), || {
            let mut histogram = grown.clone();
            histogram.begin(&extremes).unwrap();
            values.chunks(PIECE).for_each(|piece| histogram.add(piece));
            black_box(histogram.counts());
        });
        let ms = |what: &str, run: &mut dyn FnMut()| {
            println!("{:40} {:8.2} ms", format!("{what}, {name}"), 1e3 * measure(run));
        };
        let codes = code_range(INT8, false, false).unwrap();
        ms("percentile, 2048 bins", &mut || {
            let _ = black_box(percentile(&histogram, 99.99));
        });
        ms("entropy, 2048 bins", &mut || {
            let _ = black_box(entropy(&histogram, 128));
        });
        ms("mse, 2048 bins", &mut || {
            let _ = black_box(mse(&histogram, codes, false));
        });
    }
    let map = ParameterMap::new(&[1 << 10, 1 << 12], Granularity::PerChannel { axis: 0 }).unwrap();
    let options =
        WeightOptions { element: INT8, is_symmetric: true, is_reduced: false, min_real_range: None };
    throughput("parameters of a weight", || {
        black_box(weight_parameters(&values, &map, false, options).unwrap());
    });
    let found = weight_parameters(&values, &map, false, options).unwrap();
    throughput("codes of a weight", || {
        black_box(weight_codes(&values, &map, &found, INT8).unwrap());
    });
    throughput("clipped weight", || {
        black_box(clipped_weight_parameters(&values, &map, options).unwrap());
    });
    throughput("MatMulNBits, 4 bits, blocks of 32", || {
        black_box(matmul_nbits(&values, 1 << 12, 1 << 10, 4, 32, false).unwrap());
    });
    for inner in [1, 49, 4096] {
        throughput(&format!("channel means, inner {inner}"), || {
            let mut means = ChannelMeans::new(64);
            values.chunks(64 * inner).for_each(|batch| means.add(batch, inner).unwrap_or_default());
            black_box(means);
        });
    }
}
