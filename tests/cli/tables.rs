//! Whole tables at two widths. What the numbers are is asserted elsewhere; the toy computes the same on every CPU.

use crate::stranger::toys;
use crate::support::is_blessing;
use crate::support::world::World;
use std::path::Path;

/// With codes so coarse that some samples change class.
const COARSE: &str = "toy 1
input x float32 N,4
tensor p0 int8 4 scale=0.0125 = 40 -20 120 60
tensor p1 float32 4 = 0.1 0.2 -0.3 0.4
tensor p2 int8 4 scale=0.01 = 20 40 -60 80
layer q0 Quantize x -> t0 scale=0.5
layer m0 Mul t0 p0 -> t1
layer m1 Add t1 p1 -> t2
layer q1 Quantize t2 -> t3 scale=0.1 zero_point=-128
layer m2 Mul t3 p2 -> y
output y
";

/// Two branches that are added.
const BRANCHES: &str = "toy 1
input x float32 N,4
tensor w float32 4 = 0.5 -0.25 1.5 0.75
tensor v float32 4 = 2 3 -4 5
layer stem Mul x w -> s
layer branch Mul s v -> t
layer sum Add t s -> y
output y
";

/// The same, quantized with scales that are four times apart.
const QUANTIZED_BRANCHES: &str = "toy 1
input x float32 N,4
tensor w float32 4 = 0.5 -0.25 1.5 0.75
tensor v float32 4 = 2 3 -4 5
layer stem Mul x w -> s0
layer q0 Quantize s0 -> s scale=0.015625
layer branch Mul s v -> t0
layer q1 Quantize t0 -> t scale=0.0625
layer sum Add t s -> y
output y
";

/// Compares what a line prints at 80 and at 200 columns with `tests/cli/tables/NAME-WIDTH.txt`, which
/// `QP_BLESS=1` writes anew: read the difference before you commit it.
fn compare(name: &str, line: &str) {
    compare_in(&toys(), name, line);
}

fn compare_in(world: &World, name: &str, line: &str) {
    for width in ["80", "200"] {
        let output = world.qp().env("COLUMNS", width).args(["-c", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/cli/tables/{name}-{width}.txt"));
        if is_blessing() {
            std::fs::write(&path, &printed).unwrap();
        }
        let recorded = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(recorded, printed, "{} differs; QP_BLESS=1 writes it anew", path.display());
        let widest = printed.lines().map(|line| line.trim_end().chars().count()).max().unwrap_or(0);
        assert!(widest <= width.parse().unwrap(), "{name}: {widest} columns in {width}");
    }
}

#[test]
fn activations_shows_statistics_and_a_histogram() {
    compare("activations", "input toys/x.npy; activations m0 --model toys/renamed.toy --bins 6");
}

#[test]
fn activations_shows_variants_on_the_same_bins() {
    let line = "activations block/scale --model toys/toy.toy --bins 6 --compare toys/renamed.toy";
    compare("activations-compare", &format!("input toys/x.npy; {line}"));
}

#[test]
fn capture_shows_every_layer() {
    compare("capture", "input toys/x.npy; capture toys/renamed.toy");
}

#[test]
fn compare_shows_accumulated_and_own_errors() {
    compare("compare", "input toys/x.npy; compare toys/toy.toy toys/renamed.toy --threshold 33");
}

#[test]
fn data_shows_source_labels_and_classes() {
    let world = toys();
    world.write("names.txt", "cat\ndog\n");
    world.write("labels.txt", "dog\ncat\n".repeat(8));
    let line = "data d = toys/x.npy --labels labels.txt --classes names.txt --split 4:13; data";
    compare_in(&world, "data", line);
}

#[test]
fn diff_shows_properties_layers_and_tensors() {
    compare("diff", "diff toys/toy.toy toys/renamed.toy");
}

#[test]
fn drift_shows_only_the_settings_that_vary() {
    compare("drift", "input toys/x.npy; drift toys/renamed.toy");
}

#[test]
fn flips_and_explain_show_samples_and_layers() {
    let world = toys();
    world.write("toys/coarse.toy", COARSE);
    let line = "flips toys/toy.toy toys/coarse.toy; explain 15";
    compare_in(&world, "flips", &format!("input toys/x.npy; {line}"));
}

#[test]
fn graph_draws_layers_and_codes() {
    compare("graph", "graph m1 --model toys/renamed.toy --depth 1");
}

#[test]
fn info_shows_one_model() {
    compare("info", "info toys/renamed.toy");
}

#[test]
fn layer_shows_neighbors() {
    compare("layer", "layer m0 --model toys/renamed.toy");
}

#[test]
fn layers_shows_outputs_and_parameters() {
    compare("layers", "layers toys/renamed.toy");
}

#[test]
fn layers_draws_a_tree() {
    compare("layers-tree", "layers toys/toy.toy --tree");
}

#[test]
fn models_shows_the_catalog() {
    compare("models", "open toys; models");
}

#[test]
fn quant_shows_every_tensor() {
    compare("quant", "quant --model toys/renamed.toy");
}

#[test]
fn ranges_shows_models_side_by_side() {
    compare("ranges", "ranges toys/toy.toy toys/renamed.toy --sort graph");
}

#[test]
fn residuals_shows_scales_and_what_they_cost() {
    let world = toys();
    world.write("toys/branches.toy", BRANCHES);
    world.write("toys/quantized.toy", QUANTIZED_BRANCHES);
    let line = "residuals toys/quantized.toy --reference toys/branches.toy";
    compare_in(&world, "residuals", &format!("input toys/x.npy; {line}"));
}

#[test]
fn saturation_shows_what_the_weights_allow() {
    compare("saturation", "saturation models/resnet8_int8.onnx");
}

#[test]
fn sensitivity_shows_every_layer_alone() {
    compare("sensitivity", "input toys/x.npy; sensitivity toys/toy.toy toys/renamed.toy");
}

#[test]
fn stats_shows_every_tensor() {
    compare("stats", "stats toys/renamed.toy --sort std");
}

#[test]
fn summary_shows_variants() {
    compare("summary", "open toys; summary toy.toy; summary");
}

#[test]
fn weights_shows_statistics_and_a_histogram() {
    compare("weights", "weights m0 --model toys/renamed.toy --bins 6");
}

#[test]
fn weights_shows_channels() {
    compare("weights-channels", "weights m0 --model toys/renamed.toy --channels --axis 0");
}

#[test]
fn weights_compares_variants() {
    compare(
        "weights-compare",
        "weights block/scale --model toys/toy.toy --bins 6 --compare toys/renamed.toy",
    );
}
