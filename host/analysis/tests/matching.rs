//! Matching on the names that exporters and quantizers really give.

use proptest::collection::vec;
use proptest::prelude::*;
use qp_analysis::{Item, Matching, ShapeFit, Why, match_items};

type Owned = (String, Option<Vec<Option<u64>>>, String);

/// Lines of `name shape kind`: the shape as `16x3x3x3`, `-` for a scalar or `?`; the kind is `parameter` unless
/// given.
fn owned(lines: &[&str]) -> Vec<Owned> {
    lines
        .iter()
        .map(|line| {
            let mut fields = line.split_whitespace();
            let name = fields.next().unwrap_or_default().to_owned();
            let shape = match fields.next() {
                None | Some("?") => None,
                Some("-") => Some(Vec::new()),
                Some(sizes) => Some(sizes.split('x').map(|size| size.parse().ok()).collect()),
            };
            (name, shape, fields.next().unwrap_or("parameter").to_owned())
        })
        .collect()
}

fn items(owned: &[Owned]) -> Vec<Item<'_>> {
    owned
        .iter()
        .map(|(name, shape, kind)| Item {
            name,
            shape: shape.as_deref(),
            kind,
            op: "",
            has_weight: matches!(kind.as_str(), "convolution" | "linear"),
        })
        .collect()
}

fn matching(reference: &[&str], candidate: &[&str]) -> Matching {
    match_items(&items(&owned(reference)), &items(&owned(candidate)))
}

/// The pairs as `reference = candidate`, with the reason and how the shapes fit.
fn pairs(reference: &[&str], candidate: &[&str]) -> Vec<(String, Why, ShapeFit)> {
    let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    matching(reference, candidate)
        .pairs
        .into_iter()
        .map(|pair| {
            let names = format!("{} = {}", name(reference[pair.reference]), name(candidate[pair.candidate]));
            (names, pair.why, pair.fit)
        })
        .collect()
}

fn names(found: &[(String, Why, ShapeFit)]) -> Vec<&str> {
    found.iter().map(|(names, ..)| names.as_str()).collect()
}

/// ONNX Runtime's quantize_static, and MatMulNBits.
#[test]
fn quantized_initializers_belong_to_the_float_ones() {
    let found = pairs(
        &["conv.weight 16x3x3x3", "conv.bias 16", "val_49 2", "w0 256x256"],
        &[
            "val_49 2",
            "conv.weight_scale -",
            "conv.weight_zero_point -",
            "conv.weight_quantized 16x3x3x3",
            "conv.bias_quantized_scale 1",
            "conv.bias_quantized 16",
            "w0_scales 256x8",
            "w0_Q4 256x8x16",
        ],
    );
    assert_eq!(
        found,
        [
            ("conv.weight = conv.weight_quantized".into(), Why::QuantizerMark, ShapeFit::Same),
            ("conv.bias = conv.bias_quantized".into(), Why::QuantizerMark, ShapeFit::Same),
            ("val_49 = val_49".into(), Why::Exact, ShapeFit::Same),
            ("w0 = w0_Q4".into(), Why::QuantizerMark, ShapeFit::Packed),
        ]
    );
}

#[test]
fn the_real_values_come_before_the_codes() {
    let candidate = ["relu_QuantizeLinear_Output", "relu_DequantizeLinear_Output"];
    assert_eq!(names(&pairs(&["relu"], &candidate)), ["relu = relu_DequantizeLinear_Output"]);
    let candidate = ["relu_DequantizeLinear_Output", "relu_QuantizeLinear_Output", "relu"];
    assert_eq!(names(&pairs(&["relu"], &candidate)), ["relu = relu"]);
}

/// PyTorch's paths, torch.export's placeholders, modules made from ONNX nodes.
#[test]
fn paths_of_several_frameworks_are_the_same_words() {
    let reference = ["layer1.conv1.weight 8x4x3x3", "layer1.conv1.bias 8", "fc.weight 10x64"];
    let found =
        pairs(&reference, &["p_layer1_conv1_weight 8x4x3x3", "p_layer1_conv1_bias 8", "p_fc_weight 10x64"]);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|(_, why, fit)| (*why, *fit) == (Why::Unwrapped, ShapeFit::Same)));
    let found = pairs(
        &reference,
        &["layer1_conv1_weight 8x4x3x3", "layer1/conv1/Conv.bias 8", "fc/MatMul.weight 64x10"],
    );
    assert_eq!(
        found,
        [
            ("layer1.conv1.weight = layer1_conv1_weight".into(), Why::Separators, ShapeFit::Same),
            ("layer1.conv1.bias = layer1/conv1/Conv.bias".into(), Why::Unwrapped, ShapeFit::Same),
            ("fc.weight = fc/MatMul.weight".into(), Why::Unwrapped, ShapeFit::Transposed),
        ]
    );
}

#[test]
fn layers_are_matched_within_one_kind() {
    let onnx = ["/layer1/conv1/Conv ? convolution", "/layer1/Add ? addition", "/fc/Gemm ? linear"];
    let torch = ["layer1 ? other", "layer1.conv1 ? convolution", "fc ? linear"];
    assert_eq!(names(&pairs(&onnx, &torch)), ["/layer1/conv1/Conv = layer1.conv1", "/fc/Gemm = fc"]);
}

/// The legacy exporter numbers the weights into which it folded a batch norm.
#[test]
fn anonymous_weights_are_matched_by_shape_and_number() {
    let found = pairs(
        &[
            "conv.weight 16x3x3x3",
            "layer1.conv1.weight 16x16x3x3",
            "layer1.conv2.weight 16x16x3x3",
            "fc.bias 10",
        ],
        &[
            "onnx::Conv_94_quantized 16x16x3x3",
            "onnx::Conv_91_quantized 16x16x3x3",
            "onnx::Conv_88_quantized 16x3x3x3",
        ],
    );
    assert_eq!(
        found,
        [
            ("conv.weight = onnx::Conv_88_quantized".into(), Why::UniqueShape, ShapeFit::Same),
            ("layer1.conv1.weight = onnx::Conv_91_quantized".into(), Why::ShapeAndOrder, ShapeFit::Same),
            ("layer1.conv2.weight = onnx::Conv_94_quantized".into(), Why::ShapeAndOrder, ShapeFit::Same),
        ]
    );
}

#[test]
fn names_that_say_different_things_are_no_match_by_shape() {
    let found =
        matching(&["query.weight 64x64", "key.weight 64x64"], &["value.weight 64x64", "output.weight 64x64"]);
    assert_eq!(found.pairs, []);
    assert_eq!((found.unmatched_reference, found.unmatched_candidate), (vec![0, 1], vec![0, 1]));
    let found = matching(&["a.weight 4x4", "b.weight 4x4"], &["onnx::Conv_1 4x4"]);
    assert_eq!(found.pairs, [], "one of two cannot be told");
}

#[test]
fn one_name_with_two_shapes_is_a_conflict() {
    let found = matching(&["fc.weight 10x64"], &["fc.weight_quantized 12x64"]);
    assert_eq!((found.pairs.len(), found.shape_conflicts), (0, vec![(0, 0)]));
    let scales = pairs(&["w_scale -"], &["w_scale 16"]);
    assert_eq!(scales, [("w_scale = w_scale".into(), Why::Exact, ShapeFit::Granularity)]);
}

#[test]
fn a_path_that_ends_another_is_matched_when_no_other_does() {
    let reference = ["encoder.layer1.conv1.weight 8x8", "encoder.layer2.conv1.weight 8x8"];
    let found = pairs(&reference, &["layer2.conv1.weight 8x8"]);
    assert_eq!(
        found,
        [("encoder.layer2.conv1.weight = layer2.conv1.weight".into(), Why::Tail, ShapeFit::Same)]
    );
    assert_eq!(pairs(&reference, &["conv1.weight 8x8"]), []);
}

#[test]
fn surer_reasons_have_more_confidence() {
    let whys = [
        Why::Exact,
        Why::QuantizerMark,
        Why::Separators,
        Why::Unwrapped,
        Why::Tail,
        Why::UniqueShape,
        Why::ShapeAndOrder,
    ];
    let confidence =
        |why| qp_analysis::Pair { reference: 0, candidate: 0, why, fit: ShapeFit::Same }.confidence();
    assert!(whys.windows(2).all(|pair| pair[0] < pair[1] && confidence(pair[0]) > confidence(pair[1])));
    assert_eq!(confidence(Why::Exact), 1.0);
}

/// Names made of few words, so that they collide; shapes, too.
fn arbitrary_items() -> impl Strategy<Value = Vec<Owned>> {
    let word = prop_oneof![
        Just("conv"),
        Just("layer1"),
        Just("weight"),
        Just("model"),
        Just("Conv"),
        Just("0"),
        Just("7")
    ];
    let separator = prop_oneof![Just("."), Just("_"), Just("/"), Just("::")];
    let mark = prop_oneof![
        4 => Just(""), 1 => Just("_quantized"), 1 => Just("_scale"), 1 => Just("_zero_point"), 1 => Just("_Q4"),
        1 => Just("_DequantizeLinear_Output")
    ];
    let prefix = prop_oneof![6 => Just(""), 1 => Just("p_"), 1 => Just("onnx::"), 1 => Just("/")];
    let name = (prefix, vec((word, separator), 1..4), mark).prop_map(|(prefix, words, mark)| {
        let mut name = prefix.to_owned();
        for (index, (word, separator)) in words.iter().enumerate() {
            if index > 0 {
                name.push_str(separator);
            }
            name.push_str(word);
        }
        name + mark
    });
    let size = prop_oneof![6 => (1..4u64).prop_map(Some), 1 => Just(None)];
    let shape = prop_oneof![5 => vec(size, 0..3).prop_map(Some), 1 => Just(None)];
    let kind = prop_oneof![Just(""), Just("convolution"), Just("other"), Just("addition"), Just("parameter")];
    vec((name, shape, kind.prop_map(str::to_owned)), 0..40)
}

proptest! {
    #[test]
    fn every_item_is_in_one_pair_or_left_over(reference in arbitrary_items(), candidate in arbitrary_items()) {
        let (reference, candidate) = (items(&reference), items(&candidate));
        let found = match_items(&reference, &candidate);
        prop_assert_eq!(&found, &match_items(&reference, &candidate));
        let mut seen: Vec<usize> = found.pairs.iter().map(|pair| pair.reference).collect();
        prop_assert!(seen.is_sorted());
        seen.extend(&found.unmatched_reference);
        seen.sort_unstable();
        prop_assert!(seen.into_iter().eq(0..reference.len()));
        let mut seen: Vec<usize> = found.pairs.iter().map(|pair| pair.candidate).collect();
        seen.extend(&found.unmatched_candidate);
        seen.sort_unstable();
        prop_assert!(seen.into_iter().eq(0..candidate.len()));
        for pair in &found.pairs {
            let confidence = pair.confidence();
            prop_assert!(confidence > 0.0 && confidence <= 1.0);
        }
        for (left, right) in found.shape_conflicts {
            prop_assert!(found.unmatched_reference.contains(&left) && found.unmatched_candidate.contains(&right));
        }
    }

    #[test]
    fn a_network_matches_itself(owned in arbitrary_items()) {
        let items = items(&owned);
        let found = match_items(&items, &items);
        for pair in &found.pairs {
            prop_assert_eq!(pair.why, Why::Exact);
            prop_assert_eq!(items[pair.reference].name, items[pair.candidate].name);
        }
        prop_assert_eq!(found.pairs.len(), items.len());
    }

    #[test]
    fn any_text_is_a_name(texts in vec(".{0,30}", 0..20)) {
        let items: Vec<Item<'_>> = texts.iter().map(|name| Item { name, shape: None, kind: "", op: "", has_weight: false }).collect();
        match_items(&items, &items);
    }
}
