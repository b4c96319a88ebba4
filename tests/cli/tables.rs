//! Whole tables at two widths. What the numbers are is asserted elsewhere; the toy computes the same on every CPU.

use crate::stranger::toys;
use crate::support::is_blessing;
use std::path::Path;

/// Compares what a line prints at 80 and at 200 columns with `tests/cli/tables/NAME-WIDTH.txt`, which
/// `QP_BLESS=1` writes anew: read the difference before you commit it.
fn compare(name: &str, line: &str) {
    let world = toys();
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
fn compare_shows_accumulated_and_own_errors() {
    compare("compare", "input toys/x.npy; compare toys/toy.toy toys/renamed.toy --threshold 33");
}

#[test]
fn drift_shows_only_the_settings_that_vary() {
    compare("drift", "input toys/x.npy; drift toys/renamed.toy");
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
