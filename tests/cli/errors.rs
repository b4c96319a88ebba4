//! Bad inputs: each gets one line, a cause, mostly a next step, and the session goes on.

use crate::support::world::{Repl, World};
use std::io::Write as _;
use std::process::Stdio;

/// A file made wrong on purpose, the command that meets it, and what it says.
struct Bad {
    name: &'static str,
    content: Vec<u8>,
    command: &'static str,
    /// Parts of the one line.
    says: &'static [&'static str],
}

fn bad(name: &'static str, content: impl Into<Vec<u8>>, says: &'static [&'static str]) -> Bad {
    Bad { name, content: content.into(), command: "load", says }
}

/// A protobuf field of a number and bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        encoded.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    encoded.push(length as u8);
    encoded.extend_from_slice(bytes);
    encoded
}

/// A model of one initializer and nothing else: IR version 10, opset 20.
fn model_with(initializer: &[u8]) -> Vec<u8> {
    let mut model = vec![0x08, 10];
    model.extend(field(8, &[0x10, 20]));
    model.extend(field(7, &field(5, initializer)));
    model
}

/// An initializer `w` of float32 `dims`, its data in another file.
fn external(location: &str) -> Vec<u8> {
    let mut entry = field(1, b"location");
    entry.extend(field(2, location.as_bytes()));
    let mut tensor = vec![0x08, 4, 0x10, 1];
    tensor.extend(field(8, b"w"));
    tensor.extend(field(13, &entry));
    tensor.extend([0x70, 1]);
    tensor
}

/// A zip file of stored entries.
fn zip_of(entries: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default().compression_method(method))
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn all() -> Vec<Bad> {
    let onnx = std::fs::read(crate::support::plugin::model("resnet8.onnx")).unwrap();
    let traced = std::fs::read(crate::support::plugin::model("resnet8_traced.pt")).unwrap();
    let mut lying = vec![0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0x10, 1];
    lying.extend(field(8, b"w"));
    lying.extend(field(9, &[0; 4]));
    let bomb = vec![0; 64 << 20];
    let system = b"\x80\x02cposix\nsystem\nX\x0c\x00\x00\x00touch PWNED!\x85R.";
    vec![
        bad("empty.onnx", "", &["empty.onnx", "empty"]),
        bad("text.onnx", "this is not a model\n", &["text.onnx"]),
        bad("cut.onnx", &onnx[..onnx.len() / 2], &["cut.onnx"]),
        bad("lies.onnx", model_with(&lying), &["`w`"]),
        Bad { command: "run", ..bad("gone.onnx", model_with(&external("gone.bin")), &["gone.bin"]) },
        Bad { command: "run", ..bad("up.onnx", model_with(&external("../secret.bin")), &["../secret.bin"]) },
        Bad {
            command: "run",
            ..bad("absolute.onnx", model_with(&external("/etc/passwd")), &["/etc/passwd"])
        },
        bad("empty.pt", "", &["empty.pt", "empty"]),
        bad("cut.pt", &traced[..traced.len() / 2], &["cut.pt"]),
        // It is described: two readers would see two models, and the verdict says so.
        Bad {
            command: "run",
            ..bad(
                "twice.pt",
                zip_of(
                    &[("a/data.pkl", b"\x80\x02N."), ("b/data.pkl", b"\x80\x02N.")],
                    zip::CompressionMethod::Stored,
                ),
                &["data.pkl", "see different things"],
            )
        },
        bad("bomb.pt", zip_of(&[("a/data.pkl", &bomb)], zip::CompressionMethod::Deflated), &["data.pkl"]),
        bad("unknown.xyz", "hello", &["unknown.xyz"]),
        Bad { command: "input", ..bad("cut.npy", "\u{93}NUMPY", &["cut.npy"]) },
        Bad { command: "input", ..bad("fake.png", "hello", &["fake.png"]) },
        Bad { command: "input", ..bad("song.mp3", "la la", &["song.mp3"]) },
        Bad { command: "open", ..bad("notes/readme.txt", "no models here", &["no", "readme.txt"]) },
        Bad {
            command: "run",
            ..bad(
                "unsafe.pt",
                zip_of(&[("a/data.pkl", system), ("a/version", b"3\n")], zip::CompressionMethod::Stored),
                &[],
            )
        },
    ]
}

#[test]
fn every_bad_file_is_one_line_and_the_session_goes_on() {
    let world = World::new();
    let mut repl = Repl::new(world.path(""));
    repl.line("open models; use resnet8.onnx; input random");
    let before = repl.line("cache --json");
    for bad in all() {
        world.write(&format!("bad/{}", bad.name), &bad.content);
        let shown = repl.line(&format!("{} 'bad/{}'", bad.command, bad.name));
        let errors: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        println!("{} {}:\n{shown}", bad.command, bad.name);
        assert_eq!(errors.len(), 1, "`{} {}` gave {shown}", bad.command, bad.name);
        for part in bad.says {
            assert!(errors[0].contains(part), "{}: {shown}", bad.name);
        }
        assert!(
            shown.lines().all(|line| line.starts_with("error: ") || line.starts_with("  hint: ")),
            "{shown}"
        );
    }
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["models"].clone();
    let known: Vec<_> = parse(&before).as_array().unwrap().clone();
    let after = parse(&repl.line("cache --json"));
    assert!(known.iter().all(|model| after.as_array().unwrap().contains(model)), "{after}");
    assert!(repl.line("run").contains("probabilities"));
    assert!(!world.path("PWNED!").exists());
}

#[test]
fn the_same_in_a_script_ends_it_with_code_one() {
    let world = World::new();
    for bad in all().into_iter().filter(|bad| bad.command == "load") {
        world.write(&format!("bad/{}", bad.name), &bad.content);
        let ran = world.run(&format!("load 'bad/{}'", bad.name));
        assert_eq!(ran.code, 1, "{}: {}", bad.name, ran.talk);
        assert!(!ran.error().is_empty());
    }
}

#[test]
fn places_that_cannot_be_opened_are_said_plainly() {
    let world = World::new();
    std::fs::create_dir(world.path("nothing")).unwrap();
    let error = |path: &str| {
        let ran = world.run(&format!("open {path}"));
        (ran.error().to_owned(), ran.hint().to_owned())
    };
    assert_eq!(
        error("modls"),
        ("cannot open `modls`: no such file or directory".to_owned(), "Did you mean `models`?".to_owned())
    );
    let (message, hint) = error("nothing");
    assert_eq!(message, "no models in `nothing`");
    assert!(hint.contains(".onnx") && hint.contains(".pt"), "{hint}");
}

#[test]
fn a_file_in_the_open_folder_is_offered_for_one_that_is_not_found() {
    let world = World::new();
    let hint = |line: &str| {
        let ran = world.run(line);
        assert!(ran.error().contains("no such file or directory"), "{}", ran.talk);
        ran.hint().to_owned()
    };
    assert_eq!(
        hint("open models; compare resnet8.onnx resnet8_int8.onnx --data digits.npz --samples 4"),
        "Did you mean `models/digits.npz`?"
    );
    assert_eq!(hint("open models; input digits.npz:images[0:4]"), "Did you mean `models/digits.npz`?");
    assert_eq!(hint("open models; input x=digits.npz:images"), "Did you mean `models/digits.npz`?");
    assert_eq!(hint("input models/digts.npz:images[0]"), "Did you mean `models/digits.npz`?");
    assert!(!world.run("input nothing/like.npy").talk.contains("hint"));
}

#[test]
fn a_missing_runtime_is_one_line_with_what_to_do() {
    let world = World::new();
    for file in ["resnet8.onnx", "resnet8_traced.pt"] {
        let commands = format!("open models; use resnet8.onnx; input random; run {file}");
        let output = world.qp().env_remove("QP_RUNTIMES").args(["-c", &commands]).output().unwrap();
        let talk = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(talk.contains("hint: ") && talk.contains("scripts/setup.sh"), "{talk}");
    }
}

#[test]
fn a_library_that_is_no_runtime_is_one_line() {
    let world = World::new();
    world.write("runtimes/onnxruntime-1.31.1/lib/libonnxruntime.so.1.31.1", "no library");
    world.write("runtimes/libtorch-2.13.0/lib/libtorch_cpu.so", "no library");
    for file in ["resnet8.onnx", "resnet8_traced.pt"] {
        let commands = format!("open models; use resnet8.onnx; input random; run {file}");
        let output =
            world.qp().env("QP_RUNTIMES", world.path("runtimes")).args(["-c", &commands]).output().unwrap();
        let talk = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{talk}");
        assert_eq!(talk.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{talk}");
    }
}

#[test]
fn a_damaged_configuration_is_a_warning() {
    let world = World::new();
    world.write("home/config/config.toml", "format = \"jsn\"\n");
    let ran = world.run("format");
    assert_eq!((ran.code, ran.output.as_str()), (0, "results are printed as table\n"));
    assert!(ran.talk.starts_with("warning: ") && ran.talk.contains("config.toml"), "{}", ran.talk);
}

#[test]
fn a_home_that_cannot_be_written_is_no_obstacle() {
    let world = World::new();
    world.write("home", "a file where a folder should be");
    let ran = world.run("open models");
    assert_eq!(ran.code, 0, "{}", ran.talk);
    let mut command = world.qp();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"format\n").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn a_number_out_of_range_is_told_the_range_in_words() {
    let world = World::new();
    let cases = [
        ("input random --batch 0", "`--batch COUNT`: it takes a whole number from 1 to 1000000"),
        ("weights --bins few", "`--bins COUNT`: it takes a whole number from 2 to 200"),
        ("stats --top -", "it takes a whole number"),
        ("stats --top 99999999999999999999999", "the number is too large"),
        ("compare a b --threshold high", "`--threshold DB`: it takes a number"),
    ];
    for (line, expected) in cases {
        let ran = world.run(line);
        assert_eq!(ran.code, 2, "{line}");
        assert!(ran.error().ends_with(expected), "{line}: {}", ran.error());
    }
}

/// A plugin that cannot be opened may be the one that would have read the file.
#[test]
fn a_broken_plugin_is_named_where_no_plugin_reads_a_file() {
    let world = World::new();
    world.write("plugins/libqp_plugin_other.so", "no library");
    world.write("x.other", "a model");
    for line in ["open x.other", "open plugins"] {
        let plugins = world.path("plugins");
        let output = world.qp().env("QP_PLUGINS", &plugins).args(["-c", line]).output().unwrap();
        let talk = String::from_utf8(output.stderr).unwrap();
        let causes: Vec<_> = talk.lines().filter(|line| line.contains("libqp_plugin_other.so")).collect();
        assert!(causes.len() == 1 && causes[0].contains("cannot be used: "), "{talk}");
    }
}
