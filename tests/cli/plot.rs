//! `plot`.

use crate::support::world::World;

fn texts(svg: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    texts.map(|node| node.text().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn a_histogram_is_labelled() {
    let world = World::new();
    world.json("plot h.svg weights layer1.conv1 --model models/resnet8_int8.onnx --range -0.1 0.1");
    let svg = std::fs::read_to_string(world.path("h.svg")).unwrap();
    let texts = texts(&svg);
    for text in ["layer1.conv1: layer1.conv1.weight_quantized", "value", "elements", "0"] {
        assert!(texts.iter().any(|found| found == text), "{text}: {texts:?}");
    }
    // NumPy: (abs(x) <= 0.1).sum() of the dequantized weight.
    assert!(texts.iter().any(|text| text == "-0.1 to 0.1: 1,598 elements"), "{texts:?}");
}

#[test]
fn a_png_has_two_pixels_for_each_unit_and_is_not_blank() {
    let world = World::new();
    for (file, command) in [
        ("h.png", "weights fc --model resnet8.onnx"),
        ("c.png", "weights fc --model resnet8.onnx --compare"),
        ("n.png", "weights fc --model resnet8_int8.pt --channels"),
        ("r.png", "ranges resnet8.onnx resnet8_int8.onnx"),
    ] {
        let written = &world.json(&format!("open models; plot --size 600x300 {file} {command}"));
        assert_eq!((&written["format"], &written["width"]), (&"png".into(), &600.into()), "{file}");
        let picture = image::open(world.path(file)).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (1200, 600));
        let is_ink = |pixel: &&image::Rgb<u8>| pixel.0.iter().any(|part| *part < 200);
        let ink = picture.pixels().filter(is_ink).count();
        assert!((2_000..500_000).contains(&ink), "{file}: {ink}");
    }
}

#[test]
fn what_has_no_picture_is_said_before_anything_is_done() {
    let world = World::new();
    let error = |line: &str| world.run(line).error().to_owned();
    assert_eq!(error("plot x.svg info models/resnet8.onnx"), "`info` has no picture");
    assert_eq!(
        error("plot x.gif ranges models/resnet8.onnx"),
        "`x.gif` is not a picture format that qp writes"
    );
    world.write("x.svg", "mine");
    assert_eq!(error("plot x.svg ranges models/resnet8.onnx"), "`x.svg` already exists");
    assert_eq!(std::fs::read_to_string(world.path("x.svg")).unwrap(), "mine");
    assert!(error("plot y.svg ranges --nonsense").contains("--nonsense"));
    assert!(!world.path("y.svg").exists());
}

/// A name with markup, a quotation mark and a control character, which is in the model file three times.
#[test]
fn names_out_of_files_cannot_break_a_picture() {
    let world = World::new();
    let bytes = std::fs::read(world.path("models/resnet8.onnx")).unwrap();
    let (old, new) = (b"layer3.shortcut".as_slice(), b"<a&\">\x1b[2J\xc3\xa9\"'xy".as_slice());
    assert_eq!(old.len(), new.len());
    let mut changed = bytes.clone();
    for place in 0..bytes.len() - old.len() {
        if bytes[place..].starts_with(old) {
            changed[place..place + new.len()].copy_from_slice(new);
        }
    }
    world.write("hostile.onnx", changed);
    world.json("plot r.svg ranges hostile.onnx");
    let texts = texts(&std::fs::read_to_string(world.path("r.svg")).unwrap());
    assert!(texts.iter().any(|text| text.starts_with("<a&\">\u{fffd}[2Jé")), "{texts:?}");
}
