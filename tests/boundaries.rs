//! Who may import whom: the house rules of ARCHITECTURE.md that the crate graph alone does not hold.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are tests too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten()
    {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The code of a file, up to its unit tests and without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// No source below `folder` may contain any of `words`.
fn forbid(folder: &str, words: &[&str], except: &[&str]) {
    let files = sources(&root().join(folder));
    assert!(!files.is_empty(), "{folder} is empty");
    for file in files {
        if except.iter().any(|name| file.ends_with(name)) {
            continue;
        }
        let code = code(&file);
        for word in words {
            assert!(!code.contains(word), "{} contains `{word}`", file.display());
        }
    }
}

#[test]
fn only_the_backend_module_knows_what_a_plugin_is() {
    let words = ["qp_abi", "abi_stable", "libloading"];
    for module in [
        "commands",
        "render",
        "language",
        "repl",
        "catalog",
        "cache",
        "capture",
        "input",
        "diagnosis",
        "inspect",
        "lint",
        "model",
        "playground",
        "quantization",
    ] {
        forbid(&format!("host/src/{module}"), &words, &[]);
    }
    for file in ["app.rs", "executor/mod.rs", "executor/block.rs", "settings.rs", "error.rs"] {
        let code = code(&root().join("host/src").join(file));
        assert!(words.iter().all(|word| !code.contains(word)), "{file}");
    }
}

/// What an operator does is said by its plugin (`LayerInfo::kind`); the host only compares names of operators with each
/// other alone.
#[test]
fn the_host_knows_no_operator() {
    let words = [
        "Conv",
        "ConvTranspose",
        "Conv2d",
        "conv2d",
        "Gemm",
        "MatMul",
        "MatMulInteger",
        "matmul",
        "mm",
        "Linear",
        "QLinearConv",
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "quantize_per_tensor",
        "Quantize",
        "Dequantize",
        "QuantStub",
        "DeQuantStub",
        "FakeQuantize",
        "Quant",
        "Constant",
        "Identity",
        "BatchNormalization",
        "BatchNorm2d",
        "LayerNormalization",
        "LayerNorm",
        "Relu",
        "ReLU",
        "ReLU6",
        "Clip",
        "Hardtanh",
        "Sigmoid",
        "Softmax",
        "Gelu",
        "Erf",
        "Add",
        "Mul",
        "Sub",
        "Div",
        "Concat",
        "cat",
        "Reshape",
        "Transpose",
        "permute",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Gather",
        "Embedding",
        "LSTM",
        "GRU",
        "MaxPool",
        "GlobalAveragePool",
        "Shape",
        "If",
        "Loop",
    ]
    .map(|name| format!("\"{name}\""));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // `parts` of names that exporters write are known to `name.rs`: what a name says, not what a layer does.
    forbid("host/src", &words, &[]);
    forbid("host/analysis/src", &words, &["matching/name.rs"]);
}

#[test]
fn commands_do_not_print_draw_or_edit() {
    forbid(
        "host/src/commands",
        &["println!", "print!", "eprintln!", "comfy_table", "rustyline", "process::exit"],
        &[],
    );
}

#[test]
fn the_renderer_knows_no_session_and_no_backend_but_progress() {
    forbid("host/src/render", &["crate::playground", "crate::commands", "crate::repl", "qp_analysis"], &[]);
    forbid("host/src/render", &["crate::backend"], &["progress.rs"]);
}

#[test]
fn what_looks_inside_shows_nothing() {
    for room in ["inspect", "capture", "quantization"] {
        forbid(&format!("host/src/{room}"), &["crate::commands", "crate::render", "crate::repl"], &[]);
    }
}

#[test]
fn pictures_are_drawn_from_values_alone() {
    let others = ["crate::commands", "crate::playground", "crate::backend", "crate::inspect", "crate::model"];
    forbid("host/src/plot", &others, &[]);
    forbid(
        "host/src",
        &["plotters"],
        &["plot/mod.rs", "canvas.rs", "histogram.rs", "ranges.rs", "channels.rs"],
    );
}

#[test]
fn the_language_knows_words_only() {
    forbid(
        "host/src/language",
        &["crate::playground", "crate::commands", "crate::backend", "crate::render", "crate::model"],
        &[],
    );
}

#[test]
fn only_the_editor_and_the_helper_know_the_line_editor() {
    forbid("host/src", &["rustyline"], &["editor.rs", "helper.rs"]);
}

#[test]
fn the_environment_is_read_in_one_file() {
    forbid("host/src", &["env::var"], &["env.rs"]);
    for plugin in ["abi", "onnx", "pytorch", "pytorch/contract", "pytorch/engine", "toy"] {
        forbid(&format!("plugins/{plugin}/src"), &["env::var"], &["onnx/src/runtime/library.rs"]);
    }
}

#[test]
fn the_analysis_and_the_elements_are_pure() {
    for folder in ["host/analysis/src", "plugins/elements/src"] {
        forbid(folder, &["std::fs", "std::time", "std::io", "println!", "unsafe {"], &[]);
    }
}

#[test]
fn plugins_know_neither_the_host_nor_the_terminal() {
    for plugin in ["elements", "onnx", "pytorch", "pytorch/contract", "pytorch/engine", "toy"] {
        forbid(&format!("plugins/{plugin}/src"), &["qp::", "qp_analysis", "println!", "eprintln!"], &[]);
    }
}

/// What the plugin and its engine share is a crate, and no file that both compile.
#[test]
fn no_crate_compiles_the_files_of_another() {
    for folder in
        ["host", "plugins/abi", "plugins/elements", "plugins/onnx", "plugins/pytorch", "plugins/toy"]
    {
        forbid(&format!("{folder}/src"), &["#[path"], &[]);
    }
    for folder in ["plugins/pytorch/contract", "plugins/pytorch/engine"] {
        forbid(&format!("{folder}/src"), &["#[path"], &[]);
    }
}

/// A panic that leaves a function which C++ calls ends the process.
#[test]
fn every_callback_of_the_engine_is_under_its_guard() {
    let mut callbacks = 0;
    for file in sources(&root().join("plugins/pytorch/engine/src")) {
        let code = code(&file);
        for (at, start) in code.match_indices("extern \"C\" fn ") {
            // The type of a function has no name.
            if !code[at + start.len()..].starts_with(|first: char| first.is_ascii_lowercase()) {
                continue;
            }
            let rest = &code[at..];
            let body = rest.find("\n}").map_or(rest, |end| &rest[..end]);
            let guards = ["answer(", "agrees(", "give("];
            assert!(guards.iter().any(|guard| body.contains(guard)), "{}: {body}", file.display());
            callbacks += 1;
        }
    }
    assert_eq!(callbacks, 6);
}

#[test]
fn unsafe_code_is_where_the_architecture_says() {
    let allowed = [
        "host/src/main.rs",
        "host/src/backend/load.rs",
        "host/src/backend/worker/shared.rs",
        "plugins/abi/src",
        "plugins/onnx/src/runtime",
        "plugins/pytorch/src/runtime",
        "plugins/pytorch/contract/src/lib.rs",
        "plugins/pytorch/contract/src/boundary.rs",
        "plugins/pytorch/engine/src",
    ];
    for folder in [
        "host/src",
        "plugins/abi/src",
        "plugins/onnx/src",
        "plugins/pytorch/src",
        "plugins/pytorch/contract/src",
        "plugins/pytorch/engine/src",
        "plugins/toy/src",
    ] {
        for file in sources(&root().join(folder)) {
            let is_allowed = allowed.iter().any(|place| file.starts_with(root().join(place)));
            assert!(
                is_allowed
                    || !["unsafe {", "unsafe impl", "unsafe fn"]
                        .iter()
                        .any(|word| code(&file).contains(word)),
                "{}",
                file.display()
            );
        }
    }
}

/// What `scripts/check/circles.py` prints; it reads the imports of every crate, or of those in `folders`.
fn circles(arguments: &[&str]) -> (bool, String) {
    let script = root().join("scripts/check/circles.py");
    let output = Command::new("python3").arg(script).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// The top-level modules of a crate, each with those that its code names.
fn imports_of_rooms(folder: &Path) -> BTreeMap<String, Vec<String>> {
    serde_json::from_str(&circles(&["--json", folder.to_str().unwrap()]).1).unwrap()
}

#[test]
fn no_rooms_import_each_other_in_a_circle() {
    let (is_clean, printed) = circles(&["--rooms"]);
    let crates = printed.lines().filter(|line| line.trim_start().starts_with("rooms: ")).count();
    assert_eq!(crates, 9, "{printed}");
    assert!(is_clean, "{printed}");
}

#[test]
fn imports_are_read_as_the_compiler_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, code: &str| {
        let path = folder.path().join("src").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, code).unwrap();
    };
    write("lib.rs", "mod one;\nmod two;\nmod three;\nmod four;\nuse two::Two;\n");
    write("one.rs", "use super::two::Two;\n// use crate::three::Three;\nuse std::crate_like::three;\n");
    write("two/mod.rs", "mod inner;\nuse crate::{\n    three::{Three, one},\n    one,\n};\n");
    write("two/inner.rs", "use super::Two;\nfn f() { super::super::three::f(); crate::two::g(); }\n");
    write("three.rs", "#[cfg(test)]\nmod tests {\n    use crate::one::One;\n}\n");
    write("four.rs", "fn f() { crate::two::g(); }\n");
    let path = folder.path().to_str().unwrap();
    let found = imports_of_rooms(folder.path());
    assert_eq!(found["one"], ["two"]);
    assert_eq!(found["two"], ["one", "three"]);
    assert!(found["three"].is_empty());
    assert_eq!(found["four"], ["two"]);
    // `one` and `two` import each other; the others are in no circle.
    let (is_clean, printed) = circles(&["--rooms", path]);
    assert!(!is_clean && printed.contains("circle of one, two\n"), "{printed}");
}

/// The table of rooms in the README of the PyTorch plugin: each room imports rooms above it alone.
#[test]
fn the_rooms_of_pytorch_stand_in_order_in_its_readme() {
    let plugin = root().join("plugins/pytorch");
    let readme = fs::read_to_string(plugin.join("README.md")).unwrap();
    let section = readme.split("## Rooms").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let listed: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let rooms = imports_of_rooms(&plugin);
    for (at, room) in listed.iter().enumerate() {
        let imported = rooms.get(*room).unwrap_or_else(|| panic!("there is no room `{room}`"));
        for other in imported {
            assert!(
                listed[..at].contains(&other.as_str()),
                "`{room}` imports `{other}`, which is not above it"
            );
        }
    }
    let unlisted: Vec<&String> = rooms.keys().filter(|room| !listed.contains(&room.as_str())).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
}
