//! However deep a file is nested and however often it repeats itself, it is described or refused: the stack is small, and
//! what comes out is bounded by what went in.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says where")]

mod support;

use qp_abi::TensorView;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::{RMut, RRef};
use qp_abi::sdk::{AttributeValue, ModelInfo, RString};
use qp_abi::sink::{FnProgress, FnSink, Progress_TO, TensorSink_TO};
use support::deep::{
    DEPTHS, archive, around, deflated, exported, method, on_a_small_stack, safetensors, saved, text,
    torchscript, traced, written,
};
use support::{backend, inspect, open};
use tempfile::TempDir;

/// Bytes of texts in a description: some of what the file takes when it is deflated no more.
const MAX_TEXT_BYTES: usize = 192 << 20;

/// What a kind of nesting is called, and code of a depth.
type Kind = (&'static str, fn(usize) -> String);
/// A pickle of a depth.
type Pickled = Box<dyn Fn(usize) -> Vec<u8> + Sync>;

/// Looks at a file in every way that runs nothing.
fn look(name: &str, content: &[u8]) -> Option<ModelInfo> {
    let folder = TempDir::new().unwrap();
    let path = written(folder.path(), name, content);
    match inspect(&path) {
        Ok(info) => {
            let model = open(&backend(), &path).unwrap();
            // The code, line by line, of those that have some.
            let mut sink = FnSink(|_: TensorView<'_>| Ok(()));
            let progress = FnProgress(|_: &str, _, _| false);
            let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
            let sink = TensorSink_TO::from_ptr(RMut::new(&mut sink), TD_Opaque);
            drop(model.request("code/1".into(), "{}".into(), sink, progress));
            Some(info)
        }
        Err(error) => {
            assert!(!error.message.is_empty() && error.message.len() <= 600, "{name}: {error:?}");
            None
        }
    }
}

/// Looks at the file of each depth on a small stack.
fn at_every_depth(name: &str, most: usize, content: impl Fn(usize) -> Vec<u8> + Sync) {
    on_a_small_stack(|| {
        for depth in DEPTHS.into_iter().filter(|depth| *depth <= most) {
            look(name, &content(depth));
        }
    });
}

fn text_bytes(info: &ModelInfo) -> usize {
    let texts = |texts: &[RString]| texts.iter().map(|text| text.len()).sum::<usize>();
    let layers = info.layers.iter().map(|layer| {
        let attributes = layer.attributes.iter().map(|attribute| {
            let value = if let AttributeValue::Text(text) = &attribute.value { text.len() } else { 0 };
            attribute.name.len() + value
        });
        let lists = texts(&layer.inputs) + texts(&layer.outputs) + texts(&layer.tensors);
        layer.path.len() + layer.scope.len() + layer.domain.len() + lists + attributes.sum::<usize>()
    });
    let tensors = info.tensors.iter().map(|tensor| tensor.name.len() + tensor.layer.len());
    layers.sum::<usize>() + tensors.sum::<usize>()
}

#[test]
fn expressions_of_torchscript_within_each_other() {
    let kinds: [Kind; 14] = [
        ("attributes", |depth| format!("y = s{}\nreturn x", ".w".repeat(depth))),
        ("indices", |depth| format!("y = x{}\nreturn x", "[0]".repeat(depth))),
        ("calls of calls", |depth| format!("y = x{}\nreturn x", "()".repeat(depth))),
        ("calls", |depth| format!("y = {}\nreturn x", around("torch.relu(", "x", ")", depth))),
        ("brackets", |depth| format!("y = {}\nreturn x", around("(", "x", ")", depth))),
        ("lists", |depth| format!("y = {}\nreturn x", around("[", "x", "]", depth))),
        ("tuples", |depth| format!("y = {}\nreturn x", around("(", "x", ",)", depth))),
        ("dictionaries", |depth| format!("y = {}\nreturn x", around("{1: ", "x", "}", depth))),
        ("getattr", |depth| format!("y = {}\nreturn x", around("getattr(", "s", ", \"a\")", depth))),
        ("keywords", |depth| format!("y = {}\nreturn x", around("f(a=", "x", ")", depth))),
        ("signs", |depth| format!("y = {}x\nreturn x", "-".repeat(depth))),
        ("conditions", |depth| format!("y = x{}\nreturn x", " if x else x".repeat(depth))),
        ("sums", |depth| format!("y = x{}\nreturn x", " + x".repeat(depth))),
        ("chains in brackets", |depth| {
            format!("y = {}\nreturn x", around("(", "x", &format!("){}", ".w[0](x)".repeat(60)), depth / 60))
        }),
    ];
    for (kind, body) in kinds {
        // Above that, code is too long before it is too deep; one kind tries it.
        let most = if kind == "attributes" { 10_000_000 } else { 10_000 };
        println!("{kind}");
        at_every_depth("m.pt", most, |depth| torchscript(&method(&body(depth)), None));
    }
}

#[test]
fn types_blocks_and_methods_of_torchscript_within_each_other() {
    at_every_depth("m.pt", 100_000, |depth| {
        let annotation = around("List[", "Tensor", "]", depth);
        torchscript(
            &format!(
                "class M(Module):\n  def forward(s: M, x: {annotation}) -> {annotation}:\n    return x\n"
            ),
            None,
        )
    });
    at_every_depth("m.pt", 1000, |depth| {
        let blocks: String = (0..depth).map(|level| format!("{}if x:\n", " ".repeat(level))).collect();
        torchscript(&method(&blocks), None)
    });
    // Each calls the next one, once or twice: what doubles takes as long at 100 as at 10,000.
    for (times, most) in [(1, 10_000), (2, 100)] {
        at_every_depth("m.pt", most, |depth| {
            let methods = (0..depth).map(|level| {
                let call = around(&format!("(s).f{}(", level + 1), "x", ", )", times);
                format!("  def f{level}(s: M, x: Tensor) -> Tensor:\n    return {call}\n")
            });
            torchscript(&format!("{}{}", method("return (s).f0(x, )"), methods.collect::<String>()), None)
        });
    }
    on_a_small_stack(|| {
        drop(look("m.pt", &torchscript(&method("return (s).forward((s).forward(x, ), )"), None)))
    });
}

#[test]
fn modules_of_torchscript_within_each_other() {
    at_every_depth("m.pt", 100_000, |depth| {
        let open = [b"c__torch__\nM\n)\x81}", text("w").as_slice()].concat();
        let data = [b"\x80\x02", open.repeat(depth).as_slice(), b"N", &b"sb".repeat(depth), b"."].concat();
        torchscript(&method("return x"), Some(&data))
    });
    let itself = [b"\x80\x02c__torch__\nM\n)\x81q\x00}", text("w").as_slice(), b"h\x00sb."].concat();
    on_a_small_stack(|| drop(look("m.pt", &torchscript(&method("y = s.w.w.w\nreturn x"), Some(&itself)))));
}

#[test]
fn code_of_fx_within_each_other() {
    let kinds: [Kind; 13] = [
        ("attributes", |depth| format!("y = x{}\nreturn x", ".w".repeat(depth))),
        ("indices", |depth| format!("y = x{}\nreturn x", "[0]".repeat(depth))),
        ("calls of calls", |depth| format!("y = x{}\nreturn x", "()".repeat(depth))),
        ("brackets", |depth| format!("y = {}\nreturn x", around("(", "x", ")", depth))),
        ("lists", |depth| format!("y = {}\nreturn x", around("[", "x", "]", depth))),
        ("dictionaries", |depth| format!("y = {}\nreturn x", around("{1: ", "x", "}", depth))),
        ("signs", |depth| format!("y = {}x\nreturn x", "-".repeat(depth))),
        ("powers", |depth| format!("y = x{}\nreturn x", " ** x".repeat(depth))),
        ("not", |depth| format!("y = {}x\nreturn x", "not ".repeat(depth))),
        ("sums", |depth| format!("y = x{}\nreturn x", " + x".repeat(depth))),
        ("conditions", |depth| format!("y = x{}\nreturn x", " if x else x".repeat(depth))),
        ("elif", |depth| format!("if x:\n  y = x\n{}return x", "elif x:\n  y = x\n".repeat(depth))),
        ("chains in brackets", |depth| {
            let chain =
                [" + x", " | x", " * x", " and x", " or x", " < x"].map(|link| link.repeat(30)).concat();
            format!("y = {}\nreturn x", around("(", "x", &format!("{chain})"), depth / 180))
        }),
    ];
    for (kind, body) in kinds {
        println!("{kind}");
        at_every_depth("m.pt", 10_000, |depth| traced(&body(depth), b""));
    }
}

#[test]
fn values_of_pickles_within_each_other() {
    let times = |part: &[u8], depth: usize| part.repeat(depth);
    let kinds: [(&str, usize, Pickled); 8] = [
        (
            "tuples",
            100_000,
            Box::new(move |depth| [b"\x80\x02)", times(b"\x85", depth).as_slice(), b"."].concat()),
        ),
        (
            "marks",
            10_000_000,
            Box::new(move |depth| [b"\x80\x02", times(b"(", depth).as_slice(), b"."].concat()),
        ),
        (
            "lists",
            100_000,
            Box::new(move |depth| {
                [b"\x80\x02", times(b"]", depth).as_slice(), &times(b"a", depth - 1), b"."].concat()
            }),
        ),
        (
            "dictionaries",
            100_000,
            Box::new(move |depth| {
                let open = [b"}", text("a").as_slice()].concat().repeat(depth);
                [b"\x80\x02", open.as_slice(), b"N", &times(b"s", depth), b"."].concat()
            }),
        ),
        (
            "persistent ids",
            10_000,
            Box::new(move |depth| [b"\x80\x02N", times(b"Q", depth).as_slice(), b"."].concat()),
        ),
        (
            "calls",
            10_000,
            Box::new(move |depth| {
                [times(b"ctorch\nSize\n", depth).as_slice(), b")R", &times(b"\x85R", depth - 1), b"."]
                    .concat()
            }),
        ),
        (
            "parameters",
            10_000,
            Box::new(move |depth| {
                let open = times(b"ctorch._utils\n_rebuild_parameter\n", depth);
                [b"\x80\x02}", text("w").as_slice(), &open, b"N", &times(b"\x85R", depth), b"s."].concat()
            }),
        ),
        (
            "modules",
            10_000,
            Box::new(move |depth| {
                let (modules, name) = (text("_modules"), text("0"));
                let open =
                    [b"ctorch.nn.modules.container\nSequential\n)\x81}", modules.as_slice(), b"}", &name]
                        .concat();
                [b"\x80\x02", open.repeat(depth).as_slice(), b"N", &times(b"ssb", depth), b"."].concat()
            }),
        ),
    ];
    for (kind, most, pickle) in kinds {
        println!("{kind}");
        at_every_depth("m.pt", most, |depth| saved(&pickle(depth)));
        at_every_depth("m.bin", 1000, &pickle);
    }
    let cycles: [&[u8]; 2] = [
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02ctorch.nn.modules.container\nSequential\n)\x81q\x00}(X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00sub.",
    ];
    on_a_small_stack(|| cycles.iter().for_each(|cycle| drop(look("m.pt", &saved(cycle)))));
}

#[test]
fn json_within_each_other() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        at_every_depth("m.pt2", 10_000_000, |depth| exported(&around(open, "1", close, depth)));
        at_every_depth("m.safetensors", 10_000_000, |depth| {
            safetensors(&format!("{{\"w\":{}}}", around(open, "1", close, depth)))
        });
        at_every_depth("m.safetensors.index.json", 10_000_000, |depth| {
            format!("{{\"weight_map\":{}}}", around(open, "1", close, depth)).into_bytes()
        });
    }
}

#[test]
fn graphs_of_a_program_within_each_other() {
    let tensor = r#"{"as_tensor":{"name":"x"}}"#;
    let shell = |nodes: &str| {
        format!(
            r#"{{"schema_version":{{"major":8,"minor":1}},"graph_module":{{"signature":{{"input_specs":[{{"user_input":{{"arg":{tensor}}}}}],"output_specs":[{{"user_output":{{"arg":{tensor}}}}}]}},"graph":{{"nodes":{nodes},"inputs":[{tensor}],"outputs":[{tensor}],"tensor_values":{{}}}}}}}}"#
        )
    };
    for (target, before) in [
        ("cond", r#"{"arg":{"as_bool":true}},"#),
        ("wrap_with_set_grad_enabled", r#"{"arg":{"as_bool":true}},"#),
    ] {
        at_every_depth("m.pt2", 10_000, |depth| {
            let open = format!(
                r#"[{{"target":"torch.ops.higher_order.{target}","name":"y","inputs":[{before}{{"arg":{{"as_graph":{{"graph":{{"nodes":"#
            );
            let close = format!(
                r#","inputs":[{tensor}],"outputs":[{tensor}],"tensor_values":{{}}}}}}}}}},{{"arg":{tensor}}}],"outputs":[{{"as_tensor":{{"name":"z"}}}}]}}]"#
            );
            exported(&shell(&around(&open, "[]", &close, depth / 10)))
        });
    }
}

/// What a file says once and uses a thousand times.
#[test]
fn what_repeats_itself_is_described_within_bounds_or_refused() {
    let lines = |line: &str, count: usize| format!("{}\n", line).repeat(count);
    let long = "k".repeat(900);
    let shared = [
        b"}q\x01(",
        text("_parameters").as_slice(),
        b"}",
        &text("_buffers"),
        b"}",
        &text("_modules"),
        b"}u0",
    ]
    .concat();
    let children = |count: usize, name: &str| {
        let child = |at: usize| {
            [text(&format!("{name}{at}")).as_slice(), b"ctorch.nn.modules.linear\nIdentity\n)\x81h\x01b"]
                .concat()
        };
        let all: Vec<u8> = (0..count).flat_map(child).collect();
        [
            b"\x80\x02",
            shared.as_slice(),
            b"ctorch.nn.modules.container\nSequential\n)\x81}(",
            &text("_modules"),
            b"}(",
            &all,
            b"uub.",
        ]
        .concat()
    };
    // A pair of a pair of a pair: each level is used twice in the next.
    let doubling = [b"K\x01".as_slice(), &b"2\x86".repeat(100)].concat();
    let pickled = |pickle: &[u8]| deflated(&[("m/data.pkl", pickle), ("m/version", b"3\n")]);
    let many = |at: usize| {
        [text(&format!("l{at}.weight")).as_slice(), if at == 0 { TENSOR } else { b"h\x00" }].concat()
    };
    let state: Vec<u8> = (0..34_000).flat_map(many).collect();
    let code = |body: &str| torchscript(&method(body), None);
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("statements", code(&format!("{}return x", lines("x = torch.relu(x)", 3000)))),
        (
            "copies of a list",
            code(&format!("y = [{}]\n{}return x", "x, ".repeat(4000), lines("z = [y]", 400))),
        ),
        (
            "joined lists",
            code(&format!("y = [{}]\n{}return x", "x, ".repeat(4000), lines("z = torch.cat(y)", 400))),
        ),
        ("parts", code(&format!("{}return x", lines("z = torch.relu(x)[4000]", 400)))),
        (
            "copies of variables",
            code(&format!(
                "y = [{}]\n{}return x",
                "x, ".repeat(4000),
                lines("if b:\n  z = x\nelse:\n  z = x", 400)
            )),
        ),
        ("traced", traced(&format!("{}return x", lines("x = torch.relu(x)", 3000)), b"")),
        ("traced lists", traced(&format!("y = [x]*16000\n{}return x", lines("z = torch.cat(y)", 400)), b"")),
        (
            "comprehensions",
            traced(&format!("y = [1]*16000\n{}return x", lines("z = [1 for a in ()]", 400)), b""),
        ),
        ("targets", traced(&format!("{}[{}]\nreturn x", "a = ".repeat(5000), "1,".repeat(5000)), b"")),
        ("an attribute", traced("y = self.big\nreturn x", &[text("big").as_slice(), &doubling].concat())),
        ("modules", pickled(&children(34_000, "m"))),
        ("long paths", pickled(&children(34_000, &long))),
        (
            "tensors",
            deflated(&[
                ("m/data.pkl", &[b"\x80\x02}(", state.as_slice(), b"u."].concat()),
                ("m/data/0", &[0; 64]),
                ("m/version", b"3\n"),
            ]),
        ),
        ("doubling", saved(&[b"\x80\x02}", text("w").as_slice(), &doubling, b"s."].concat())),
        (
            "objects",
            archive(&[
                ("m/archive_format", b"pt2"),
                ("m/models/model.json", format!("[{}{{}}]", "{},".repeat(1 << 20)).as_bytes()),
            ]),
        ),
    ];
    on_a_small_stack(|| {
        for (kind, content) in files {
            println!("{kind}");
            let Some(info) = look(if kind == "objects" { "m.pt2" } else { "m.pt" }, &content) else {
                continue;
            };
            assert!(text_bytes(&info) <= MAX_TEXT_BYTES, "{kind}: {}", text_bytes(&info));
            let most = (1 << 15) + content.len() / 64 + 16;
            assert!(info.layers.len() <= most, "{kind}: {}", info.layers.len());
            assert!(info.tensors.len() <= most, "{kind}: {}", info.tensors.len());
        }
    });
}

/// A tensor of 4 floats, remembered under 0.
const TENSOR: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQK\x00K\x04\x85K\x01\x85\x89}tRq\x00";
