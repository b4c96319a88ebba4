//! Graphs whose code cannot be followed: each is refused in words that name what is missing, in little time, and on a
//! small stack, whatever the code would have Python do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::sdk::{ErrorKind, ModelInfo};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use support::inspect;

/// What a Rust thread has by default.
const STACK_BYTES: usize = 2 << 20;
/// Much more than any of these files needs, in a build without optimization and on a busy machine.
const TIME: Duration = Duration::from_secs(20);

/// A pickle in the making, with the opcodes of protocol 2.
#[derive(Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        self.bytes(b"X").bytes(&length).bytes(text.as_bytes())
    }

    fn global(self, module: &str, name: &str) -> Self {
        self.bytes(format!("c{module}\n{name}\n").as_bytes())
    }

    /// A dictionary of what `entries` pushes, key by key.
    fn dictionary(self, entries: impl FnOnce(Self) -> Self) -> Self {
        entries(self.bytes(b"}(")).bytes(b"u")
    }

    /// The content of a module: its code if it is a graph, its children, attributes of its own.
    fn state(
        self,
        code: Option<&str>,
        children: impl FnOnce(Self) -> Self,
        own: impl FnOnce(Self) -> Self,
    ) -> Self {
        self.dictionary(|pickle| {
            let pickle = match code {
                Some(code) => pickle.text("_code").text(code),
                None => pickle,
            };
            let pickle = pickle.text("_parameters").bytes(b"}").text("_buffers").bytes(b"}");
            own(pickle.text("_modules").dictionary(children))
        })
    }

    /// A graph with that code.
    fn graph(self, code: &str, children: impl FnOnce(Self) -> Self) -> Self {
        self.global("torch.fx.graph_module", "reduce_graph_module")
            .bytes(b"(")
            .state(Some(code), children, |pickle| pickle)
            .text("import torch\n")
            .bytes(b"tR")
    }

    /// A module of a class; its children may name it by its number in the memo.
    fn module(
        self,
        class: (&str, &str),
        number: u8,
        children: impl FnOnce(Self) -> Self,
        own: impl FnOnce(Self) -> Self,
    ) -> Self {
        self.global(class.0, class.1)
            .bytes(&[b')', 0x81, b'q', number])
            .state(None, children, own)
            .bytes(b"b")
    }

    fn read(self) -> ModelInfo {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        std::fs::write(&path, [b"\x80\x02", self.0.as_slice(), b"."].concat()).unwrap();
        let began = Instant::now();
        let work = move || inspect(&path).unwrap();
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap();
        let info = thread.join().unwrap();
        assert!(began.elapsed() < TIME, "{:?}", began.elapsed());
        info
    }

    /// Why the model cannot be run.
    fn refusal(self) -> String {
        let info = self.read();
        let error = info.run_obstacle.into_option().unwrap();
        assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP, "{error:?}");
        assert!(error.help.contains("torch.jit.trace"), "{error:?}");
        error.message.to_string()
    }
}

fn forward(lines: &str) -> String {
    let body: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("def forward(self, x):\n{body}")
}

fn refusal_of(lines: &str) -> String {
    Pickle::default().graph(&forward(lines), |pickle| pickle).refusal()
}

#[test]
fn a_graph_that_is_understood_is_no_refusal() {
    let info = Pickle::default().graph(&forward("return torch.relu(x) + 1"), |pickle| pickle).read();
    assert!(info.run_obstacle.is_none(), "{:?}", info.run_obstacle);
    let layers: Vec<&str> = info.layers.iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(layers, ["relu", "add"]);
}

#[test]
fn what_is_missing_is_named() {
    for (lines, expected) in [
        ("y = x.sum() > 0\nreturn x if y else -x", "values that only a run can tell"),
        ("while x:\n    pass", "`while` is not supported"),
        ("return library.f(x)", "`library`"),
        ("return torch.distributions.normal.Normal(x)", "`torch.distributions.normal.Normal`"),
        ("return torch.nn.functional.relu(x, wrong = 1)", "`torch.nn.functional.relu`"),
        (
            "return torch.nn.functional.relu()",
            "`torch.nn.functional.relu` is called with arguments that it does not take",
        ),
        (
            "return torch.nn.functional.gumbel_softmax(x)",
            "`torch.nn.functional.gumbel_softmax`: it draws random",
        ),
        ("return torch.nn.functional.dropout(x, training = True)", "traced in training mode"),
        ("return torch.rand_like(x)", "draws random numbers"),
        ("return self.missing(x)", "the model has no attribute `missing`"),
        ("return getattr(self, \"a\\x1b[31m\\n\")(x)", "has no attribute"),
        ("return 1", "returns nothing that is computed"),
        ("a, b = (1, 2, 3)\nreturn x", "apart into 2 variables"),
        ("return x[{}]", "passes a dictionary to an operator"),
        ("return (1, 2)[5]", "past the end"),
    ] {
        let message = refusal_of(lines);
        assert!(message.contains(expected), "{lines}: {message}");
        assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
    }
}

#[test]
fn a_module_that_cannot_be_followed_is_named_with_its_path_and_class() {
    let code = forward("return self.stem.pool(x)");
    let pool = |own: &'static [u8]| {
        let code = code.clone();
        Pickle::default().graph(&code, move |pickle| {
            let stem = |pickle: Pickle| {
                pickle.text("pool").module(
                    ("torch.nn.modules.pooling", "FractionalMaxPool2d"),
                    1,
                    |p| p,
                    |p| {
                        p.text("kernel_size")
                            .bytes(b"K\x02")
                            .text("output_size")
                            .bytes(b"K\x02")
                            .text("_random_samples")
                            .bytes(own)
                            .text("output_ratio")
                            .bytes(b"N")
                    },
                )
            };
            pickle.text("stem").module(("torch.nn.modules.container", "Sequential"), 0, stem, |p| p)
        })
    };
    assert_eq!(pool(b"N").refusal(), "`stem.pool` (`FractionalMaxPool2d`): it draws random numbers");
    let unknown = Pickle::default().graph(&forward("return self.net(x)"), |pickle| {
        pickle.text("net").module(("research.models", "Net"), 0, |p| p, |p| p)
    });
    assert_eq!(unknown.refusal(), "`net` is a `research.models.Net`, whose computation is not in the file");
}

#[test]
fn code_that_would_never_end_ends_soon() {
    let mut doubled = "a = [0]\n".to_owned();
    let mut texts = "a = 'ab'\n".to_owned();
    let mut nested = "a = []\n".to_owned();
    let mut copied = "a = [0] * 16000\n".to_owned();
    for _ in 0..60 {
        doubled.push_str("a = a + a\n");
        texts.push_str("a = a + a\n");
    }
    for _ in 0..20_000 {
        nested.push_str("a = [a]\n");
        copied.push_str("b = a\n");
    }
    for code in [
        "a = [i for i in range(1000000000000)]",
        "a = [0] * 1000000000000",
        "a = [[i for i in range(10000)] for j in range(10000)]",
        "a = 10 ** 1000000000",
        "a = 1 << 100000000000",
        &doubled,
        &texts,
        &nested,
        &copied,
    ] {
        let message = refusal_of(&format!("{code}\nreturn x"));
        assert!(!message.is_empty(), "{}", code.chars().take(40).collect::<String>());
    }
}

#[test]
fn a_long_graph_is_followed_in_linear_time() {
    let mut lines = String::new();
    for index in 0..20_000 {
        let _ = writeln!(lines, "v{index} = torch.relu(x);  x = v{index}");
    }
    lines.push_str("return x");
    let info = Pickle::default().graph(&forward(&lines), |pickle| pickle).read();
    assert!(info.run_obstacle.is_none(), "{:?}", info.run_obstacle);
    assert_eq!(info.layers.len(), 20_000);
}

#[test]
fn modules_within_themselves_are_refused() {
    let container = ("torch.nn.modules.container", "Sequential");
    let cycle = |pickle: Pickle| pickle.text("0").bytes(b"h\x00");
    let itself = Pickle::default().module(container, 0, cycle, |p| p);
    assert!(itself.refusal().contains("nested too deep"));
    let two =
        Pickle::default().module(container, 0, |p| p.text("0").module(container, 1, cycle, |p| p), |p| p);
    assert!(two.refusal().contains("nested too deep"));
}

/// 60 graphs, each of which calls the next one twice: 2⁶⁰ calls.
#[test]
fn modules_that_call_each_other_more_and_more_often_are_refused() {
    let mut inner = Pickle::default().graph(&forward("return x + 1"), |pickle| pickle);
    for _ in 0..60 {
        let bytes = inner.0;
        inner = Pickle::default()
            .graph(&forward("x = self.m(x)\nreturn self.m(x)"), |pickle| pickle.text("m").bytes(&bytes));
    }
    assert!(inner.refusal().contains("followed"));
}
