//! The candidate's quantization in the reference's graph: with all layers quantized the reference computes what ONNX
//! Runtime computes of the candidate itself, whatever the candidate's graph looks like.

use crate::support::numpy::npy;
use crate::support::onnx;
use crate::support::world::World;
use serde_json::Value;

const FLOAT: u64 = 1;
const INT8: u64 = 3;

/// Numbers without a pattern, between -1 and 1.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 37 + seed * 11) % 41) as f32 / 20.5 - 1.0).collect()
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A graph under construction: nodes and stored tensors.
#[derive(Default)]
struct Builder {
    nodes: Vec<u8>,
    stored: Vec<u8>,
}

impl Builder {
    fn node(&mut self, op_type: &str, inputs: &[&str], output: &str) {
        let node = onnx::node(output, op_type, "", inputs, &[output]);
        self.nodes.extend(onnx::field(1, &node));
    }

    /// A product with a weight that is stored transposed: `transB` is 1.
    fn transposed(&mut self, inputs: &[&str], output: &str) {
        let attribute = [onnx::text(1, "transB"), onnx::int(3, 1), onnx::int(20, 2)].concat();
        let node = [onnx::node(output, "Gemm", "", inputs, &[output]), onnx::field(5, &attribute)].concat();
        self.nodes.extend(onnx::field(1, &node));
    }

    fn floats(&mut self, name: &str, shape: &[u64], numbers: &[f32]) {
        self.stored.extend(onnx::field(5, &onnx::tensor(name, FLOAT, shape, &bytes(numbers))));
    }

    fn affine(&mut self, name: &str, scale: f32, zero_point: i8) -> [String; 2] {
        let names = [format!("{name}_scale"), format!("{name}_zero_point")];
        self.floats(&names[0], &[], &[scale]);
        let zero_point = onnx::tensor(&names[1], INT8, &[], &[zero_point as u8]);
        self.stored.extend(onnx::field(5, &zero_point));
        names
    }

    /// `value` to int8 as `codes`.
    fn quantize(&mut self, value: &str, codes: &str, scale: f32, zero_point: i8) {
        let [scale, zero_point] = self.affine(value, scale, zero_point);
        self.node("QuantizeLinear", &[value, &scale, &zero_point], codes);
    }

    /// `value` to int8 and back as `result`.
    fn round(&mut self, value: &str, result: &str, scale: f32, zero_point: i8) {
        let codes = format!("{value}_QuantizeLinear_Output");
        self.quantize(value, &codes, scale, zero_point);
        let names = [format!("{value}_scale"), format!("{value}_zero_point")];
        self.node("DequantizeLinear", &[&codes, &names[0], &names[1]], result);
    }

    /// A weight of 4 x 4 as codes with one scale; `NAME_DequantizeLinear_Output` reads them.
    fn weight(&mut self, name: &str, numbers: &[f32]) {
        let names = self.affine(name, 1.0 / 64.0, 0);
        let codes: Vec<u8> = numbers.iter().map(|number| (number * 64.0).round() as i8 as u8).collect();
        let quantized = format!("{name}_quantized");
        self.stored.extend(onnx::field(5, &onnx::tensor(&quantized, INT8, &[4, 4], &codes)));
        self.node(
            "DequantizeLinear",
            &[&quantized, &names[0], &names[1]],
            &format!("{name}_DequantizeLinear_Output"),
        );
    }

    /// From `x` of four columns to `z` of that type.
    fn model(self, output: u64) -> Vec<u8> {
        let value = |name: &str, dtype: u64| {
            let dims = [onnx::field(1, &onnx::text(2, "N")), onnx::field(1, &onnx::int(1, 4))].concat();
            let tensor = [onnx::int(1, dtype), onnx::field(2, &dims)].concat();
            [onnx::text(1, name), onnx::field(2, &onnx::field(1, &tensor))].concat()
        };
        let input = onnx::field(11, &value("x", FLOAT));
        let output = onnx::field(12, &value("z", output));
        onnx::model(&[self.nodes, onnx::text(2, "g"), self.stored, input, output].concat(), &[])
    }
}

/// `sensitivity` of the two on 16 samples: what all layers together give, and the candidate itself.
fn together(float: Builder, quantized: (Builder, u64)) -> (Value, f64, f64) {
    let world = World::new();
    world.write("f.onnx", float.model(FLOAT));
    world.write("q.onnx", quantized.0.model(quantized.1));
    world.write("x.npy", npy("<f4", "16, 4", bytes(&numbers(64, 3))));
    let mut found =
        world.jsons("input x.npy; sensitivity f.onnx q.onnx --json; compare f.onnx q.onnx --json");
    let compared = found.pop().unwrap();
    let found = found.pop().unwrap();
    let db = |key: &str| found[key]["sqnr_db"].as_f64().unwrap();
    (compared, db("all"), db("candidate_itself"))
}

#[track_caller]
fn assert_same((_, all, candidate): &(Value, f64, f64)) {
    assert!((all - candidate).abs() < 1e-3, "all layers together {all} dB, the candidate {candidate} dB");
    // Far from nothing lost, or there would be nothing to see.
    assert!(*candidate < 45.0, "{candidate}");
}

#[test]
fn codes_that_are_read_with_another_scale_than_they_were_made_with_rescale_the_value() {
    let (mut float, mut quantized) = (Builder::default(), Builder::default());
    float.floats("w", &[4, 4], &numbers(16, 1));
    float.node("MatMul", &["x", "w"], "h");
    float.node("Softmax", &["h"], "z");
    quantized.quantize("x", "x_codes", 0.02, 5);
    let [scale, zero_point] = quantized.affine("x_read", 0.04, 5);
    quantized.node("DequantizeLinear", &["x_codes", &scale, &zero_point], "x_rounded");
    quantized.weight("w", &numbers(16, 1));
    quantized.node("MatMul", &["x_rounded", "w_DequantizeLinear_Output"], "h");
    quantized.round("h", "h_rounded", 0.03, 0);
    quantized.node("Softmax", &["h_rounded"], "z");
    let found = together(float, (quantized, FLOAT));
    assert_same(&found);
    // Twice the value: less than 20 dB, whatever the scales are.
    assert!(found.2 < 20.0, "{}", found.2);
}

#[test]
fn a_product_is_rounded_before_the_bias_where_the_candidate_adds_it_in_a_layer_of_its_own() {
    let (mut float, mut quantized) = (Builder::default(), Builder::default());
    float.floats("w", &[4, 4], &numbers(16, 1));
    float.floats("b", &[4], &numbers(4, 2));
    float.node("Gemm", &["x", "w", "b"], "y");
    float.node("Softmax", &["y"], "z");
    quantized.round("x", "x_rounded", 0.01, 0);
    quantized.weight("w", &numbers(16, 1));
    quantized.node("MatMul", &["x_rounded", "w_DequantizeLinear_Output"], "product");
    quantized.round("product", "product_rounded", 0.3, 0);
    quantized.floats("b", &[4], &numbers(4, 2));
    quantized.node("Add", &["product_rounded", "b"], "y");
    quantized.round("y", "y_rounded", 0.02, 0);
    quantized.node("Softmax", &["y_rounded"], "z");
    let found = together(float, (quantized, FLOAT));
    assert_same(&found);
    // The layer is fed the reference's values: what is lost alone is what was lost.
    let gemm = &found.0["layers"][0];
    assert_eq!(gemm["op_type"], "Gemm");
    let (whole, alone) = (gemm["sqnr_db"].as_f64().unwrap(), gemm["local"]["sqnr_db"].as_f64().unwrap());
    assert!((whole - alone).abs() < 1e-3, "{gemm}");
}

#[test]
fn a_clamp_that_the_candidate_has_lost_lets_everything_through() {
    let (mut float, mut quantized) = (Builder::default(), Builder::default());
    for builder in [&mut float, &mut quantized] {
        builder.floats("shift", &[4], &numbers(4, 5));
    }
    float.floats("w", &[4, 4], &numbers(16, 1));
    float.node("MatMul", &["x", "w"], "h");
    float.node("Relu", &["h"], "r");
    float.node("Add", &["r", "shift"], "z");
    quantized.round("x", "x_rounded", 0.01, 0);
    quantized.weight("w", &numbers(16, 1));
    quantized.node("MatMul", &["x_rounded", "w_DequantizeLinear_Output"], "h");
    quantized.round("h", "r", 0.03, 0);
    quantized.node("Add", &["r", "shift"], "z");
    let found = together(float, (quantized, FLOAT));
    assert_same(&found);
    assert!(found.2 < 10.0, "{}", found.2);
}

#[test]
fn outputs_that_are_codes_are_compared_as_the_numbers_that_they_mean() {
    let (mut float, mut quantized) = (Builder::default(), Builder::default());
    float.floats("w", &[4, 4], &numbers(16, 1));
    float.node("MatMul", &["x", "w"], "h");
    float.node("Relu", &["h"], "z");
    quantized.round("x", "x_rounded", 0.01, 0);
    quantized.weight("w", &numbers(16, 1));
    quantized.node("MatMul", &["x_rounded", "w_DequantizeLinear_Output"], "h");
    quantized.node("Relu", &["h"], "r");
    quantized.quantize("r", "z", 0.04, -128);
    assert_same(&together(float, (quantized, INT8)));
}

/// The shape of a square weight does not say that the candidate has it the other way round.
#[test]
fn a_square_weight_that_the_candidate_has_transposed_is_turned() {
    let (mut float, mut quantized) = (Builder::default(), Builder::default());
    let weight = numbers(16, 1);
    let turned: Vec<f32> = (0..16).map(|index| weight[index % 4 * 4 + index / 4]).collect();
    float.floats("w", &[4, 4], &turned);
    float.transposed(&["x", "w"], "h");
    float.node("Softmax", &["h"], "z");
    quantized.round("x", "x_rounded", 0.01, 0);
    quantized.weight("w", &weight);
    quantized.node("MatMul", &["x_rounded", "w_DequantizeLinear_Output"], "h");
    quantized.round("h", "h_rounded", 0.02, 0);
    quantized.node("Softmax", &["h_rounded"], "z");
    assert_same(&together(float, (quantized, FLOAT)));
}
