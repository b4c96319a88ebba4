//! Files that are called other than what they are: the right backend reads them, or the error says what they are.

use crate::support::world::World;
use std::io::Read;

/// Backend and format of a file, as `open` lists it.
fn read_by(world: &World, file: &str) -> (String, String) {
    let opened = world.json(&format!("open {file}"));
    let text = |key: &str| opened["models"][0][key].as_str().unwrap_or_default().to_owned();
    (text("backend"), text("format"))
}

#[test]
fn a_model_under_another_extension_is_read_by_the_backend_of_its_content() {
    let world = World::new();
    for (file, name, backend, format) in [
        ("resnet8.onnx", "a.pt", "onnx", "onnx"),
        ("resnet8.onnx", "b.safetensors", "onnx", "onnx"),
        ("resnet8.onnx", "c", "onnx", "onnx"),
        ("resnet8_traced.pt", "d.onnx", "pytorch", "torchscript"),
        ("resnet8.pt", "e.onnx", "pytorch", "pickle"),
        ("resnet8.pt", "f.safetensors", "pytorch", "pickle"),
    ] {
        std::fs::copy(world.path("models").join(file), world.path(name)).unwrap();
        assert_eq!(read_by(&world, name), (backend.to_owned(), format.to_owned()), "{file} as {name}");
    }
}

#[test]
fn an_exported_program_is_one_under_any_extension_of_pytorchs() {
    let world = World::new();
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/pytorch/tests/data/programs.zip");
    let mut archive = zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap();
    let mut program = Vec::new();
    archive.by_name("attention.pt2").unwrap().read_to_end(&mut program).unwrap();
    for name in ["g.pt2", "g.pth", "g.onnx"] {
        world.write(name, &program);
        assert_eq!(read_by(&world, name), ("pytorch".to_owned(), "pt2".to_owned()), "{name}");
    }
}

#[test]
fn what_is_no_model_is_refused_by_what_it_is() {
    let world = World::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    for (name, content, words) in [
        ("text.pt", "epoch 1: 0.93\nepoch 2: 0.94\n", "the file is text that begins with `epoch 1: 0.93`"),
        ("text.onnx", "epoch 1: 0.93\n", "the file is text that begins with `epoch 1: 0.93`"),
        ("pointer.onnx", pointer, "the file is a Git LFS pointer instead of the file"),
        ("pointer.safetensors", pointer, "Fetch the file: `git lfs pull`."),
        ("page.pt", "<!DOCTYPE html>\n<html>\n", "the file is an HTML page"),
        ("zipped.onnx", "PK\u{3}\u{4}\u{14}\0\0\0other", "the file is a zip archive"),
        ("page", "<html><body>", "the file is an HTML page"),
    ] {
        world.write(name, content);
        let ran = world.run(&format!("open {name}"));
        assert_eq!(ran.code, 1, "{name}: {}", ran.output);
        assert!(ran.talk.contains(words), "{name}: {}", ran.talk);
    }
}
