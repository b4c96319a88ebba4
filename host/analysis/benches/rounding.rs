//! The error and the time of rounding linear layers to 4 bits: `cargo bench -p qp-analysis --bench rounding`.
//!
//! The layers are those of `tests/rounding.rs`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints and may panic")]

use qp_analysis::calibration::weights::{WeightOptions, weight_parameters};
use qp_analysis::calibration::{GptqOptions, Hessian, Layer, Parameters, descend, gptq, search_rounding};
use qp_analysis::{CodeRange, ElementType, Granularity, ParameterMap};
use std::time::Instant;

fn mixed(count: usize, seed: u64) -> Vec<f64> {
    (seed..seed + count as u64)
        .map(|index| {
            let mut x = (index * 2_654_435_761 + 12345) % (1 << 32);
            x = (x ^ (x >> 15)) * 2_246_822_519 % (1 << 32);
            x = (x ^ (x >> 13)) * 3_266_489_917 % (1 << 32);
            (x ^ (x >> 16)) as f64 / 2f64.powi(32) - 0.5
        })
        .collect()
}

struct Example {
    weight: Vec<f32>,
    hessian: Hessian,
    columns: usize,
    parameters: Vec<Parameters>,
}

impl Example {
    fn new(rows: usize, columns: usize, samples: usize, latent: usize) -> Self {
        let parts = [1, 1_000_000, 2_000_000].map(|seed| mixed(rows * columns, seed));
        let weight: Vec<f32> = (0..rows * columns)
            .map(|index| (parts[0][index] + parts[1][index] + parts[2][index]) as f32)
            .collect();
        let (a, z) = (mixed(columns * latent, 3_000_000), mixed(samples * latent, 4_000_000));
        let e = mixed(samples * columns, 5_000_000);
        let input = |index: usize| {
            let (sample, column) = (index / columns, index % columns);
            let (z, a) = (&z[sample * latent..][..latent], &a[column * latent..][..latent]);
            let product = 4.0 * z.iter().zip(a).map(|(z, a)| z * a).sum::<f64>();
            (product + 0.5 * e[index] + 0.1).max(0.0) as f32
        };
        let inputs: Vec<f32> = (0..samples * columns).map(input).collect();
        let mut hessian = Hessian::new(columns);
        inputs.chunks(77 * columns).for_each(|batch| hessian.add(batch).unwrap());
        let map =
            ParameterMap::new(&[rows as u64, columns as u64], Granularity::PerChannel { axis: 0 }).unwrap();
        let options = WeightOptions {
            element: ElementType::Int { bits: 4, is_signed: true },
            is_symmetric: true,
            is_reduced: false,
            min_real_range: None,
        };
        let parameters = weight_parameters(&weight, &map, false, options).unwrap();
        Self { weight, hessian, columns, parameters }
    }

    fn layer(&self) -> Layer<'_> {
        Layer {
            weight: &self.weight,
            columns: self.columns,
            parameters: &self.parameters,
            group_size: self.columns,
            codes: CodeRange::new(-8, 7).unwrap(),
        }
    }

    fn error(&self, codes: &[i32]) -> f64 {
        self.hessian.output_error(&self.layer().error(codes)).unwrap()
    }
}

fn main() {
    for (rows, columns, samples, latent) in [(64, 288, 2000, 24), (64, 576, 4000, 40), (512, 1152, 4000, 64)]
    {
        let example = Example::new(rows, columns, samples, latent);
        println!("{rows} outputs, {columns} inputs, {samples} samples");
        let show = |what: &str, start: Instant, codes: &[i32]| {
            let ms = 1e3 * start.elapsed().as_secs_f64();
            println!("  {what:32} {:12.1} {ms:9.1} ms", example.error(codes));
        };
        let start = Instant::now();
        let nearest = example.layer().nearest();
        show("nearest", start, &nearest);
        for by_activation in [false, true] {
            let start = Instant::now();
            let options = GptqOptions { by_activation, ..GptqOptions::default() };
            let mut codes = gptq(example.layer(), &example.hessian, options).unwrap();
            show(if by_activation { "GPTQ by activation" } else { "GPTQ" }, start, &codes);
            let start = Instant::now();
            descend(example.layer(), &example.hessian, &mut codes, 20).unwrap();
            show("  and descent", start, &codes);
        }
        let start = Instant::now();
        let mut codes = nearest;
        descend(example.layer(), &example.hessian, &mut codes, 20).unwrap();
        show("nearest and descent", start, &codes);
        let start = Instant::now();
        let codes = search_rounding(example.layer(), &example.hessian, 20).unwrap();
        show("search", start, &codes);
    }
    let (columns, samples) = (1024, 4096);
    let inputs: Vec<f32> = mixed(columns * samples, 1).into_iter().map(|value| value as f32).collect();
    let mut hessian = Hessian::new(columns);
    let start = Instant::now();
    hessian.add(&inputs).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let flops = (columns * columns * samples) as f64;
    println!(
        "Hessian of {samples} x {columns}: {:.0} ms, {:.1} GFLOP/s",
        1e3 * seconds,
        flops / seconds / 1e9
    );
}
