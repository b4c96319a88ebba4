//! Megabytes of stored elements a second, on one core: `cargo bench -p qp-analysis`.
//!
//! Each line is the best of several runs over data larger than the caches.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints and may panic")]

use qp_analysis::ElementType::{BFloat16, Float8E4M3Fn, Float16, Float32, Float64};
use qp_analysis::{
    Affine, AffineList, Bins, CodeRange, CodeUsage, EdgePrecision, ElementType, ErrorMetrics, Granularity,
    Histogram, ParameterMap, Quantizer, Statistics,
};
use std::hint::black_box;
use std::time::Instant;

const BYTES: usize = 64 << 20;
const RUNS: usize = 5;

const INT4: ElementType = ElementType::Int { bits: 4, is_signed: true };
const INT8: ElementType = ElementType::Int { bits: 8, is_signed: true };
const INT16: ElementType = ElementType::Int { bits: 16, is_signed: true };
const INT32: ElementType = ElementType::Int { bits: 32, is_signed: true };

fn measure(what: &str, bytes: usize, mut run: impl FnMut()) {
    let seconds = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!("{what:40} {:8.0} MB/s", bytes as f64 / seconds / 1e6);
}

/// Elements that look like weights: a sum of uniform numbers, so most are small.
fn weights(element: ElementType) -> Vec<u8> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5
    };
    let mut bytes = Vec::with_capacity(BYTES);
    while bytes.len() < BYTES {
        let value = uniform() + uniform() + uniform() + uniform();
        let scale = if element.is_integer() { 60.0 } else { 0.05 };
        if element.push(&mut bytes, value * scale).is_none() {
            bytes.push((value * 60.0) as i8 as u8);
        }
    }
    bytes
}

fn main() {
    let float32 = weights(Float32);
    measure("read (sum of the bytes as u64)", BYTES, || {
        let (words, _) = float32.as_chunks::<8>();
        black_box(words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word))));
    });
    for element in [Float64, Float32, Float16, BFloat16, Float8E4M3Fn, INT32, INT16, INT8, INT4] {
        let bytes = weights(element);
        measure(&format!("decode {element:?}"), BYTES, || {
            element.for_each_block(&bytes, usize::MAX, |block| {
                black_box(block);
            });
        });
        measure(&format!("statistics {element:?}"), BYTES, || {
            let mut statistics = Statistics::new();
            statistics.add_elements(element, &bytes, usize::MAX);
            black_box(statistics);
        });
        let bins = Bins::over(-0.1, 0.1, 100, EdgePrecision::of(element)).unwrap();
        let bins = if element.is_integer() {
            Bins::over(-128.0, 127.0, 100, EdgePrecision::Float64).unwrap()
        } else {
            bins
        };
        measure(&format!("histogram, 100 bins {element:?}"), BYTES, || {
            let mut histogram = Histogram::new(bins.clone());
            histogram.add_elements(element, &bytes, usize::MAX);
            black_box(histogram);
        });
    }
    for element in [INT4, INT8, INT16] {
        let bytes = weights(element);
        measure(&format!("codes in use {element:?}"), BYTES, || {
            let mut usage = CodeUsage::new(element).unwrap();
            usage.add_elements(&bytes, usize::MAX);
            black_box(usage);
        });
    }
    let bytes = weights(INT8);
    let shape = [1 << 14, 1 << 12];
    for granularity in [
        Granularity::PerTensor,
        Granularity::PerChannel { axis: 0 },
        Granularity::PerChannel { axis: 1 },
        Granularity::PerBlock { axis: 1, block_size: 32 },
        Granularity::PerBlock { axis: 0, block_size: 32 },
    ] {
        let map = ParameterMap::new(&shape, granularity).unwrap();
        let scales = vec![0.01; map.parameter_count() as usize];
        let zero_points = vec![3.0; scales.len()];
        let parameters = AffineList::new(&scales, &zero_points).unwrap();
        measure(&format!("dequantize int8 {granularity:?}"), BYTES, || {
            let mut first = 0;
            INT8.for_each_block(&bytes, usize::MAX, |block| {
                map.dequantize_in_place(first, block, parameters).unwrap();
                first += block.len() as u64;
                black_box(block);
            });
        });
    }
    let quantizer = Quantizer::new(Affine::new(0.0004, 3.0), CodeRange::of(INT8).unwrap());
    measure("fake-quantize float32", BYTES, || {
        Float32.for_each_block(&float32, usize::MAX, |block| {
            quantizer.fake_quantize_in_place(block);
            black_box(block);
        });
    });
    measure("errors of fake-quantized float32", BYTES, || {
        let mut errors = ErrorMetrics::new();
        let mut candidate = Vec::new();
        Float32.for_each_block(&float32, usize::MAX, |block| {
            candidate.clear();
            candidate.extend_from_slice(block);
            quantizer.fake_quantize_in_place(&mut candidate);
            errors.add(block, &candidate).unwrap();
        });
        black_box(errors.metrics());
    });
}
