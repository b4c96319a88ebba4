//! `lint`: each rule on a file that breaks it, and nothing grave on healthy ones. What is expected follows from the
//! codes and scales that the files are made of.

use crate::support::onnx;
use crate::support::world::World;
use serde_json::Value;

const FLOAT: u64 = 1;
const UINT8: u64 = 2;
const INT8: u64 = 3;
const INT16: u64 = 5;
const INT32: u64 = 6;

/// One product of codes: x (N, k) by a weight (k, n) per tensor, plus a bias; x, and the sum, are rounded to codes.
struct Product {
    input: (u64, f32),
    shape: [u64; 2],
    weight: Vec<i8>,
    weight_scale: f32,
    /// Codes and scale.
    bias: Option<(Vec<i32>, f32)>,
    output_scale: f32,
    /// Operators between this product and a second one; only the ends of the chain are rounded.
    functions: &'static [&'static str],
    has_output_type: bool,
}

impl Default for Product {
    fn default() -> Self {
        Self {
            input: (UINT8, 0.1),
            shape: [4, 4],
            // Every sum of two stays below 16 bits: 255 · (64 + 64) = 32,640.
            weight: vec![64, -64, 33, 21, 1, 64, -64, 40, 64, 17, 64, -64, -64, 30, 2, 64],
            weight_scale: 0.03,
            bias: None,
            output_scale: 0.07,
            functions: &[],
            has_output_type: true,
        }
    }
}

#[derive(Default)]
struct Graph {
    nodes: Vec<u8>,
    stored: Vec<u8>,
}

impl Graph {
    fn node(&mut self, op_type: &str, inputs: &[&str], output: &str) {
        self.nodes.extend(onnx::field(1, &onnx::node(output, op_type, "", inputs, &[output])));
    }

    fn store(&mut self, name: &str, dtype: u64, shape: &[u64], bytes: &[u8]) {
        self.stored.extend(onnx::field(5, &onnx::tensor(name, dtype, shape, bytes)));
    }

    fn affine(&mut self, name: &str, dtype: u64, scale: f32) -> [String; 2] {
        let names = [format!("{name}_scale"), format!("{name}_zero")];
        self.store(&names[0], FLOAT, &[], &scale.to_le_bytes());
        let width = match dtype {
            INT32 => 4,
            INT16 => 2,
            _ => 1,
        };
        self.store(&names[1], dtype, &[], &[0_u8; 4][..width]);
        names
    }

    fn dequantized(&mut self, name: &str, (dtype, scale): (u64, f32), shape: &[u64], codes: &[u8]) -> String {
        let [scale, zero] = self.affine(name, dtype, scale);
        let (stored, real) = (format!("{name}_codes"), format!("{name}_real"));
        self.store(&stored, dtype, shape, codes);
        self.node("DequantizeLinear", &[&stored, &scale, &zero], &real);
        real
    }

    fn rounded(&mut self, value: &str, (dtype, scale): (u64, f32), result: &str) {
        let [scale, zero] = self.affine(value, dtype, scale);
        let codes = format!("{value}_codes");
        self.node("QuantizeLinear", &[value, &scale, &zero], &codes);
        self.node("DequantizeLinear", &[&codes, &scale, &zero], result);
    }
}

impl Product {
    fn file(&self) -> Vec<u8> {
        let mut graph = Graph::default();
        let [k, n] = self.shape;
        graph.rounded("x", self.input, "x_real");
        let weight: Vec<u8> = self.weight.iter().map(|code| code.to_le_bytes()[0]).collect();
        let weight = graph.dequantized("w", (INT8, self.weight_scale), &[k, n], &weight);
        match &self.bias {
            Some((codes, scale)) => {
                let bytes: Vec<u8> = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
                let bias = graph.dequantized("b", (INT32, *scale), &[n], &bytes);
                graph.node("Gemm", &["x_real", &weight, &bias], "y");
            }
            None => graph.node("MatMul", &["x_real", &weight], "y"),
        }
        let mut end = "y";
        if !self.functions.is_empty() {
            graph.rounded("y", (UINT8, self.output_scale), "y_real");
            let names = ["y_real", "f0", "f1", "f2"];
            for (ends, function) in names.windows(2).zip(self.functions) {
                graph.node(function, &[ends[0]], ends[1]);
            }
            let last = names[self.functions.len()];
            graph.rounded(last, (UINT8, 0.013), "v_real");
            graph.node("MatMul", &["v_real", &weight], "u");
            end = "u";
        }
        graph.rounded(end, (UINT8, self.output_scale), "z");
        let input = onnx::field(11, &onnx::value("x", &[Err("N"), Ok(k)]));
        let output = match self.has_output_type {
            true => onnx::value("z", &[Err("N"), Ok(n)]),
            false => onnx::text(1, "z"),
        };
        let output = onnx::field(12, &output);
        onnx::model(&[graph.nodes, onnx::text(2, "g"), graph.stored, input, output].concat(), &[])
    }

    fn findings(&self) -> Vec<Value> {
        let world = World::new();
        world.write("m.onnx", self.file());
        let report = world.json("lint m.onnx --json");
        report["models"][0]["findings"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn only(&self) -> Value {
        let mut findings = self.findings();
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }
}

#[test]
fn a_healthy_product_has_no_findings() {
    assert_eq!(Product::default().findings(), Vec::<Value>::new());
}

#[test]
fn the_sample_models_have_neither_errors_nor_warnings() {
    let world = World::new();
    let found = world.json("lint models/resnet8_int8.onnx models/resnet8_uint8.onnx models/resnet8_int8.pt models/resnet8.onnx --json");
    assert_eq!((&found["errors"], &found["warnings"]), (&0.into(), &0.into()), "{found}");
    let text = world.run("lint models/resnet8_uint8.onnx");
    assert_eq!(text.output, "models/resnet8_uint8.onnx: nothing found\n");
}

#[test]
fn sixteen_bits_by_eight_overflow_32_bits() {
    // 32,768 · 127 · 512 = 2,130,706,432 fits, and twice as many do not.
    let of = |k: u64| Product {
        input: (INT16, 1e-4),
        shape: [k, 2],
        weight: vec![127; 2 * k as usize],
        ..Product::default()
    };
    // What else it is: a weight with one code.
    let overflows = |product: &Product| {
        let found = product.findings();
        found.into_iter().find(|finding| finding["code"] == "accumulator-overflow")
    };
    assert_eq!(overflows(&of(512)), None);
    let found = overflows(&of(1024)).unwrap();
    assert_eq!(
        (found["value"].as_f64(), found["count"].as_u64()),
        (Some(32_768.0 * 127.0 * 1024.0), Some(2))
    );
    assert_eq!(found["level"], "warning");
    assert_eq!(found["layer"], "y");
}

#[test]
fn two_products_overflow_16_bits() {
    let mut product = Product::default();
    // The first output's first pair: 255 · (127 + 2).
    product.weight[0] = 127;
    product.weight[4] = 2;
    let found = product.only();
    assert_eq!((found["code"].as_str(), found["value"].as_f64()), (Some("pair-overflow"), Some(32_895.0)));
    assert_eq!(found["count"], 1);
    // Signed activations become unsigned in the kernel: the bounds are the same.
    product.input.0 = INT8;
    assert_eq!(product.only()["value"], 32_895.0);
}

#[test]
fn scales_that_are_halves_of_each_other_tie() {
    let product =
        Product { input: (UINT8, 0.25), weight_scale: 0.5, output_scale: 0.5, ..Product::default() };
    let found = product.only();
    assert_eq!((found["code"].as_str(), found["value"].as_f64()), (Some("rounding-ties"), Some(4.0)));
    let whole =
        Product { input: (UINT8, 0.25), weight_scale: 0.5, output_scale: 0.125, ..Product::default() };
    assert_eq!(whole.findings(), Vec::<Value>::new());
}

#[test]
fn a_bias_has_its_scale_and_fits() {
    let scale = 0.1_f32 * 0.03;
    let healthy = Product { bias: Some((vec![1, -2, 300, 4], scale)), ..Product::default() };
    assert_eq!(healthy.findings(), Vec::<Value>::new());
    let off = Product { bias: Some((vec![1, -2, 300, 4], 8.0 * scale)), ..Product::default() }.only();
    assert_eq!((off["code"].as_str(), off["tensor"].as_str()), (Some("bias-scale"), Some("b_codes")));
    assert!((off["value"].as_f64().unwrap() - 8.0).abs() < 1e-5, "{off}");
    let full = Product { bias: Some((vec![1, i32::MIN, 0, 0], scale)), ..Product::default() }.only();
    assert_eq!(full["code"], "bias-saturated");
}

#[test]
fn functions_between_two_products_are_in_float() {
    let layers = |functions| {
        let found = Product { functions, ..Product::default() }.findings();
        assert!(found.iter().all(|finding| finding["code"] == "float-between"), "{found:?}");
        found.iter().map(|finding| finding["op_type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Codes go in and come out: a runtime may compute on them.
    assert_eq!(layers(&["Sigmoid"]), Vec::<String>::new());
    // What reads real numbers cannot.
    assert_eq!(layers(&["Sigmoid", "Erf", "Sigmoid"]), ["Erf", "Sigmoid"]);
}

#[test]
fn a_shared_scale_leaves_small_channels_with_nothing() {
    let mut product = Product::default();
    // The third output's weights: at most 3 steps from 0.
    for (place, code) in [(2, 3), (6, -2), (10, 1), (14, 0)] {
        product.weight[place] = code;
    }
    let found = product.only();
    assert_eq!(found["code"], "narrow-channel");
    assert_eq!((found["count"].as_u64(), found["value"].as_f64()), (Some(1), Some(3.0)));
}

#[test]
fn an_activation_without_range_was_never_reached() {
    // The floor that PyTorch's observers put under a scale.
    let product = Product { output_scale: f32::EPSILON, ..Product::default() };
    let found = product.only();
    assert_eq!((found["code"].as_str(), found["tensor"].as_str()), (Some("range-tiny"), Some("y")));
}

#[test]
fn an_output_without_a_type_is_said() {
    let found = Product { has_output_type: false, ..Product::default() }.findings();
    assert!(found.iter().all(|finding| finding["code"] == "untyped"), "{found:?}");
}

#[test]
fn levels_leave_out_what_is_less_grave() {
    let world = World::new();
    let scale = 8.0 * 0.1 * 0.03;
    let mut product = Product { bias: Some((vec![1, -2, 300, 4], scale)), ..Product::default() };
    (product.weight[0], product.weight[4]) = (127, 2);
    world.write("m.onnx", product.file());
    let codes = |level: &str| {
        let found = world.json(&format!("lint m.onnx --level {level} --json"));
        let findings = found["models"][0]["findings"].as_array().unwrap().clone();
        findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(codes("note"), ["bias-scale", "pair-overflow"]);
    assert_eq!(codes("warning"), ["bias-scale"]);
    assert_eq!(codes("error"), Vec::<String>::new());
    assert!(world.run("lint m.onnx --level loud").error().contains("error, warning, note"));
}

#[test]
fn a_file_that_cannot_be_read_leaves_the_others_their_rows() {
    let world = World::new();
    world.write("bad.onnx", b"no model");
    world.write("m.onnx", Product::default().file());
    let ran = world.run("lint bad.onnx m.onnx");
    assert!(ran.output.contains("nothing found"), "{}", ran.output);
    assert!(ran.error().contains("bad.onnx"), "{}", ran.error());
}
