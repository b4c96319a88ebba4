//! `graph`.

use crate::support::world::World;

/// The edges that the nodes of the same file have in Python, `QuantizeLinear` and `DequantizeLinear` left out.
#[test]
fn a_residual_block_forks_and_joins() {
    let world = World::new();
    let graph = world.json("graph --model models/resnet8_int8.onnx");
    let edges = graph["edges"].as_array().unwrap();
    let sources = |to: &str| {
        let mut sources: Vec<_> =
            edges.iter().filter(|edge| edge["to"] == to).map(|edge| edge["from"].as_str().unwrap()).collect();
        sources.sort_unstable();
        sources
    };
    assert_eq!(sources("layer2.add"), ["layer2.conv2", "layer2.shortcut"]);
    assert_eq!(sources("layer1.add"), ["layer1.conv2", "stem"]);
    assert_eq!(sources("stem"), ["normalize.mul"]);
    assert_eq!(graph["hidden"], 52);
    // scale 0.10072482377290726 and zero point 9, as `onnx.load` shows them.
    let last = edges.iter().find(|edge| edge["to"] == "softmax").unwrap();
    assert_eq!(last["quantization"]["zero_points"][0], 9.0);
    let drawing = world.run("graph --model models/resnet8_int8.onnx").output;
    for line in ["├─╮", "│ ● layer1.conv1", "├─╯", "● layer1.add"] {
        assert!(drawing.contains(line), "{line}: {drawing}");
    }
}

#[test]
fn a_neighbourhood_says_what_is_beyond_it() {
    let world = World::new();
    let graph = world.json("graph layer2.conv2 --depth 1 --model models/resnet8_int8.onnx");
    let nodes = graph["nodes"].as_array().unwrap();
    let names: Vec<_> = nodes.iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["layer2.conv1", "layer2.conv2", "layer2.add"]);
    assert_eq!(nodes[0]["before"], serde_json::json!(["layer1.add"]));
    assert_eq!(nodes[2]["before"], serde_json::json!(["layer2.shortcut"]));
    // A layer that is plumbing is drawn when it is asked for.
    let plumbing = "graph layer1.conv1.weight_DequantizeLinear --depth 1 --model models/resnet8_int8.onnx";
    assert_eq!(world.json(plumbing)["nodes"].as_array().unwrap().len(), 2);
}

#[test]
fn a_file_for_graphviz_is_written_once() {
    let world = World::new();
    let line = "graph --model models/resnet8_int8.onnx --dot net.dot";
    world.json(line);
    let text = std::fs::read_to_string(world.path("net.dot")).unwrap();
    assert!(text.starts_with("digraph qp {") && text.ends_with("}\n"), "{text}");
    assert_eq!(
        text.matches(" -> ").count(),
        world.json("graph --model models/resnet8_int8.onnx")["edges"].as_array().unwrap().len()
    );
    assert!(text.contains("int8 ×0.100725 +9"), "{text}");
    assert_eq!(world.run(line).error(), "`net.dot` already exists");
    world.json(&format!("{line} --force"));
}

#[test]
fn weights_alone_are_no_graph() {
    let world = World::new();
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/subclass.pt");
    let ran = world.run(&format!("load {weights} --as weights; graph --model weights"));
    assert!(ran.error().starts_with("the file does not say how the layers of"), "{}", ran.error());
}

/// `forward` of the file: each addition has two branches, and containers are no nodes.
#[test]
fn an_eager_module_has_the_graph_of_its_code() {
    let world = World::new();
    let found = world.json("graph --model models/resnet8.pt");
    let text = found.to_string();
    assert!(text.contains("layer2.shortcut") && text.contains("add_1"), "{text}");
    assert!(!text.contains("\"Module\""), "{text}");
}
