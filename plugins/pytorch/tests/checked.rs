//! TorchScript whose code would do harm: what is refused before it runs, what a run is ended for, and that none of it
//! reaches the process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::TensorView;
use qp_abi::sdk::{BackendError, DType, ErrorKind, Fetch};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::native::{bytes_of, run, run_for, run_while, setup};
use support::{Received, backend_with, open};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The pickle of a module `__torch__.M` without attributes but `training`.
const MODULE: &[u8] = b"\x80\x02c__torch__\nM\nq\x00)\x81}(X\x08\x00\x00\x00trainingq\x01\x89ub.";

/// Writes an archive with that source and that `data.pkl`.
fn archive(folder: &Path, code: &str, data: &[u8]) -> PathBuf {
    let path = folder.join("m.pt");
    let mut writer = ZipWriter::new(std::fs::File::create(&path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let entries: [(&str, &[u8]); 5] = [
        ("m/data.pkl", data),
        ("m/code/__torch__.py", code.as_bytes()),
        ("m/constants.pkl", b"\x80\x02)."),
        ("m/version", b"3\n"),
        ("m/byteorder", b"little"),
    ];
    for (name, content) in entries {
        writer.start_file(name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap();
    path
}

/// A module whose `forward` has these lines.
fn module(body: &str) -> String {
    let body = body.replace('\n', "\n    ");
    format!(
        "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n  def forward(s: __torch__.M,\n    x: Tensor) -> Tensor:\n    {body}\n"
    )
}

/// Runs the module of a source on 4×4 ones; `None` where there is no libtorch.
fn run_code(code: &str, data: &[u8]) -> Option<Result<Vec<Received>, BackendError>> {
    let backend = backend_with(setup()?);
    let folder = TempDir::new().unwrap();
    let model = match open(&backend, &archive(folder.path(), code, data)) {
        Ok(model) => model,
        Err(error) => return Some(Err(error)),
    };
    let bytes = bytes_of(&[1.0; 16]);
    let view = TensorView::whole("x", DType::FLOAT32, &[4, 4], &bytes);
    Some(run(&model, &[view], &[]).map(|(_, outputs)| outputs))
}

fn run_body(body: &str) -> Option<Result<Vec<Received>, BackendError>> {
    run_code(&module(body), MODULE)
}

/// What the error says, all of it.
fn said(error: &BackendError) -> String {
    let causes: Vec<&str> = error.causes.iter().map(|cause| cause.as_str()).collect();
    format!("{}: {}", error.message, causes.join(": "))
}

fn assert_refused(body: &str, kind: ErrorKind, words: &str) {
    let Some(result) = run_body(body) else { return };
    let Err(error) = result else { panic!("{body} ran") };
    assert_eq!(error.kind, kind, "{body}: {error:?}");
    assert!(said(&error).contains(words), "{body}: {error:?}");
    assert!(!error.message.contains('\n'), "{body}: {error:?}");
}

#[test]
fn a_module_that_computes_runs() {
    let Some(result) = run_body("a = 0\nfor i in range(3):\n  a = torch.add(a, i)\nreturn torch.add(x, a)")
    else {
        return;
    };
    assert_eq!(result.unwrap()[0].floats(), [4.0; 16]);
    // What is forked runs, too; what is printed goes nowhere.
    let code = module("print(x)\ny = fork(__torch__.f, x)\nreturn torch.wait(y)");
    let code = format!("{code}def f(x: Tensor) -> Tensor:\n  return torch.neg(x)\n");
    let Some(result) = run_code(&code, MODULE) else { return };
    assert_eq!(result.unwrap()[0].floats(), [-1.0; 16]);
}

#[test]
fn operators_that_reach_out_are_refused_however_they_are_written() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("written");
    let file = file.to_str().unwrap();
    for call in [
        format!("torch.save(\"text\", \"{file}\")"),
        format!("torch.\\\nsave(\"text\", \"{file}\")"),
        format!("(torch. # c\n  save # d\n (\"text\", \"{file}\"))"),
        format!("ops.aten.save(\"text\", \"{file}\")"),
    ] {
        assert_refused(&format!("_0 = {call}\nreturn x"), ErrorKind::UNSAFE_FILE, "save`");
    }
    let hidden = format!(
        "if torch.gt(torch.dim(x), 5):\n  _0 = torch.save(\"text\", \"{file}\")\nelse:\n  pass\nreturn x"
    );
    assert_refused(&hidden, ErrorKind::UNSAFE_FILE, "save`");
    assert_refused("return torch.from_file(\"/etc/passwd\", False, 4)", ErrorKind::UNSAFE_FILE, "from_file`");
    assert!(!Path::new(file).exists());
}

#[test]
fn kernels_that_check_nothing_are_refused_by_name() {
    for (body, kind, name) in [
        (
            "t = torch.full([1, 3], 1000000, dtype=4)\nreturn torch.ctc_loss(torch.zeros([5, 1, 4]), t, [5], [3])",
            ErrorKind::UNSUPPORTED_OP,
            "aten::ctc_loss",
        ),
        (
            "c = torch.full([5], 1000000, dtype=4)\nreturn torch.to_dense(torch._sparse_csr_tensor_unsafe(c, c, x, [4, 4]))",
            ErrorKind::UNSAFE_FILE,
            "aten::_sparse_csr_tensor_unsafe",
        ),
        (
            "return ops.inductor._alloc_from_pool(x, 1000000000, 6, [4, 4], [4, 1])",
            ErrorKind::UNSAFE_FILE,
            "inductor::_alloc_from_pool",
        ),
        (
            "return torch._reshape_alias(x, [4, 4], [1000000, 1])",
            ErrorKind::UNSAFE_FILE,
            "aten::_reshape_alias",
        ),
        ("return ops.mylib.compute(x)", ErrorKind::UNSUPPORTED_OP, "mylib::compute"),
    ] {
        assert_refused(body, kind, name);
    }
}

#[test]
fn numbers_that_stand_for_no_dtype_are_refused_before_and_during_the_run() {
    for body in ["return torch.to(x, -1)", "return torch.to(x, 47)", "return torch.zeros([2], dtype=1000)"] {
        assert_refused(body, ErrorKind::CORRUPT_FILE, "there is no dtype");
    }
    assert_refused(
        "return torch.zeros([2], dtype=6, layout=99)",
        ErrorKind::CORRUPT_FILE,
        "there is no layout 99",
    );
    assert_refused(
        "return torch.contiguous(x, memory_format=-3)",
        ErrorKind::CORRUPT_FILE,
        "there is no memory format -3",
    );
    // Known at the run only.
    assert_refused(
        "return torch.to(x, torch.sub(torch.dim(x), 3))",
        ErrorKind::RUNTIME_FAILED,
        "there is no dtype -1",
    );
    assert_refused(
        "return torch.to(x, torch.device(\"meta\"))",
        ErrorKind::RUNTIME_FAILED,
        "runs on the CPU",
    );
    let Some(result) = run_body("return torch.to(torch.zeros([2], dtype=7), 6)") else { return };
    assert_eq!(result.unwrap()[0].floats(), [0.0; 2]);
}

#[test]
fn divisions_of_whole_numbers_fail_and_stop_nothing() {
    let least = "torch.sub(-9223372036854775807, torch.sub(torch.dim(x), 1))";
    for (body, words) in [
        ("a = torch.remainder(7, torch.sub(torch.dim(x), 2))".to_owned(), "division by zero"),
        ("a = torch.floordiv(7, torch.sub(torch.dim(x), 2))".to_owned(), "division by zero"),
        (format!("a = torch.floordiv({least}, torch.sub(1, torch.dim(x)))"), "too large"),
        (format!("a = torch.remainder({least}, torch.sub(1, torch.dim(x)))"), "too large"),
        (format!("a = torch.gcd({least}, torch.sub(1, torch.dim(x)))"), "too large"),
        // libtorch's compiler computes what depends on constants alone.
        ("a = torch.floordiv(7, 0)".to_owned(), "division by zero"),
        ("a = torch.floordiv(torch.sub(-9223372036854775807, 1), -1)".to_owned(), "too large"),
        (
            "y = torch.full([2], torch.sub(-9223372036854775807, 1), dtype=4)\na = torch.floor_divide(y, -1)"
                .to_owned(),
            "too large",
        ),
        (
            "y = torch.full([2], -2147483648, dtype=3)\na = torch.remainder(y, torch.full([2], -1, dtype=3))"
                .to_owned(),
            "too large",
        ),
    ] {
        assert_refused(&format!("{body}\nreturn torch.add(x, a)"), ErrorKind::RUNTIME_FAILED, words);
    }
    let Some(result) = run_body("a = torch.remainder(-7, 4)\nreturn torch.add(x, a)") else { return };
    assert_eq!(result.unwrap()[0].floats(), [2.0; 16]);
}

/// A module with a state of its own, and the pickle of one.
fn stateful(set_state: &str) -> (String, Vec<u8>) {
    let code = format!(
        "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n    return x\n  def __getstate__(self: __torch__.M) -> bool:\n    return True\n  def __setstate__(self: __torch__.M,\n    state: bool) -> NoneType:\n    {}\n    self.training = state\n    return None\n",
        set_state.replace('\n', "\n    ")
    );
    (code, b"\x80\x02c__torch__\nM\nq\x00)\x81\x89b.".to_vec())
}

#[test]
fn what_runs_while_a_file_is_loaded_is_checked_before() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("written");
    let (code, data) = stateful("_0 = 1");
    let Some(result) = run_code(&code, &data) else { return };
    assert_eq!(result.unwrap()[0].floats(), [1.0; 16]);
    for (body, kind, words) in [
        (
            format!("_0 = torch.\\\nsave(\"text\", \"{}\")", file.display()),
            ErrorKind::UNSAFE_FILE,
            "aten::save",
        ),
        (
            "a = 0\nwhile torch.ge(a, 0):\n  a = torch.remainder(torch.add(a, 1), 10)".to_owned(),
            ErrorKind::RUNTIME_FAILED,
            "turns",
        ),
    ] {
        let (code, data) = stateful(&body);
        let error = run_code(&code, &data).unwrap().map(drop).unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(said(&error).contains(words), "{error:?}");
    }
    // A default value, which libtorch computes as soon as it reads it.
    let code = module("return x").replace(
        "x: Tensor)",
        &format!("x: Tensor, y: int=torch.\\\nsave(\"text\", \"{}\"))", file.display()),
    );
    let error = run_code(&code, MODULE).unwrap().map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSAFE_FILE, "{error:?}");
    assert!(!file.exists());
}

#[test]
fn objects_of_classes_that_reach_out_are_not_made() {
    let data = [
        MODULE.strip_suffix(b"\x89ub.").unwrap(),
        b"c__torch__.torch.classes.dist_rpc\nWorkerInfo\n)\x81}bub.",
    ]
    .concat();
    let Some(result) = run_code(&module("return x"), &data) else { return };
    let error = result.map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP, "{error:?}");
    assert!(error.message.contains("dist_rpc.WorkerInfo"), "{error:?}");
}

#[test]
fn code_that_is_nested_too_deep_never_reaches_the_parser() {
    for depth in [1000_usize, 10_000, 1_000_000] {
        for line in [
            format!("y = {}1{}", "[".repeat(depth), "]".repeat(depth)),
            format!("y = {}1", "-".repeat(depth)),
            format!("y = 1{}", " + 1".repeat(depth)),
            format!("y = {}x{}", "(".repeat(depth), ")".repeat(depth)),
        ] {
            assert_refused(&format!("{line}\nreturn x"), ErrorKind::UNSAFE_FILE, "nests an expression");
        }
    }
}

#[test]
fn what_the_limits_let_through_does_not_overflow_the_stack() {
    // Just below the limits of `src/nesting`.
    for line in [
        format!("y = {}1{}", "[".repeat(390), "]".repeat(390)),
        format!("y = {}1", "-".repeat(390)),
        format!("y = 1{}", " + 1".repeat(390)),
        format!("y = {}x{}", "(".repeat(390), ")".repeat(390)),
        format!("y = {}True", "not ".repeat(390)),
        format!("y = {}1", "1 if True else ".repeat(190)),
        "\n".repeat(1900),
        "# comment\n".repeat(1900),
    ] {
        let Some(result) = run_body(&format!("{line}\nreturn x")) else { return };
        drop(result);
    }
    let blocks: String = (0..190).map(|level| format!("{}if True:\n", " ".repeat(level))).collect();
    let Some(result) = run_body(&format!("{blocks}{}x = torch.neg(x)\nreturn x", " ".repeat(190))) else {
        return;
    };
    assert_eq!(result.unwrap()[0].floats(), [-1.0; 16]);
    let functions: String = (0..98)
        .map(|index| format!("def f{index}(x: Tensor) -> Tensor:\n  return __torch__.f{}(x)\n", index + 1))
        .collect();
    let code = format!(
        "{}{functions}def f98(x: Tensor) -> Tensor:\n  return torch.neg(x)\n",
        module("return __torch__.f1(x)")
    );
    let Some(result) = run_code(&code, MODULE) else { return };
    assert_eq!(result.unwrap()[0].floats(), [-1.0; 16]);
}

#[test]
fn all_limits_at_once_do_not_overflow_the_stack() {
    let blocks: String = (2..180).map(|level| format!("{}if bool(x):\n", " ".repeat(level))).collect();
    let functions: String = (0..97)
        .map(|index| {
            let value = format!("{}__torch__.f{}(x){}", "(".repeat(190), index + 1, ")".repeat(190));
            format!(
                "def f{index}(x: Tensor) -> Tensor:\n{blocks}{}x = {value}\n  return x\n",
                " ".repeat(180)
            )
        })
        .collect();
    let code =
        format!("{}{functions}def f97(x: Tensor) -> Tensor:\n  return x\n", module("return __torch__.f0(x)"));
    let Some(result) = run_code(&code, MODULE) else { return };
    let error = result.map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSAFE_FILE, "{error:?}");
}

#[test]
fn code_that_grows_as_its_calls_are_followed_is_refused() {
    let functions: String = (0..40)
        .map(|index| {
            format!(
                "def f{index}(x: Tensor) -> Tensor:\n  return __torch__.f{0}(__torch__.f{0}(x))\n",
                index + 1
            )
        })
        .collect();
    let code = format!(
        "{}{functions}def f40(x: Tensor) -> Tensor:\n  return torch.neg(x)\n",
        module("return __torch__.f0(x)")
    );
    let Some(result) = run_code(&code, MODULE) else { return };
    let error = result.map(drop).unwrap_err();
    assert!(error.message.contains("too large"), "{error:?}");
}

#[test]
fn loops_without_end_end() {
    assert_refused("while True:\n  x = torch.add(x, 1)\nreturn x", ErrorKind::UNSAFE_FILE, "never ends");
    let started = Instant::now();
    assert_refused(
        "a = 0\nwhile torch.ge(a, 0):\n  a = torch.remainder(torch.add(a, 1), 1000)\nreturn torch.add(x, a)",
        ErrorKind::RUNTIME_FAILED,
        "turns",
    );
    assert_refused(
        "a = 0\nfor i in range(1000000000000):\n  a = torch.add(a, 1)\nreturn torch.add(x, a)",
        ErrorKind::RUNTIME_FAILED,
        "turns",
    );
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_loop_that_computes_tensors_stops_when_it_is_told() {
    let Some(setup) = setup() else { return };
    let backend = backend_with(setup);
    let folder = TempDir::new().unwrap();
    for body in [
        "a = 0\nwhile torch.ge(a, 0):\n  a = torch.remainder(torch.add(a, 1), 1000)\n  x = torch.mul(x, 1)\nreturn x",
        // Within a branch, and in what a fork computes.
        "if torch.gt(torch.dim(x), 1):\n  while torch.ge(torch.dim(x), 0):\n    x = torch.mul(x, 1)\nelse:\n  pass\nreturn x",
    ] {
        let model = open(&backend, &archive(folder.path(), &module(body), MODULE)).unwrap();
        let bytes = bytes_of(&[1.0; 16]);
        let view = TensorView::whole("x", DType::FLOAT32, &[4, 4], &bytes);
        let is_over = AtomicBool::new(false);
        let mut took = Duration::ZERO;
        std::thread::scope(|scope| {
            let told = scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(3));
                is_over.store(true, Ordering::SeqCst);
                Instant::now()
            });
            let error = run_while(&model, &[view], &|| !is_over.load(Ordering::SeqCst)).unwrap_err();
            took = told.join().unwrap().elapsed();
            assert_eq!(error.kind, ErrorKind::CANCELLED, "{error:?}");
        });
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
}

/// libtorch gives no one shape for a nested tensor: its elements cannot be delivered.
#[test]
fn a_layer_that_computes_a_nested_tensor_is_an_error_of_the_capture_alone() {
    let Some(setup) = setup() else { return };
    let folder = TempDir::new().unwrap();
    let code = module(
        "n = ops.aten._nested_tensor_from_tensor_list([x, x])\nreturn torch.nested_to_padded_tensor(n, 0.)",
    );
    let model = open(&backend_with(setup), &archive(folder.path(), &code, MODULE)).unwrap();
    let bytes = bytes_of(&[1.0; 16]);
    let view = TensorView::whole("x", DType::FLOAT32, &[4, 4], &bytes);
    let error = run_for(&model, &[view], &[], Fetch::LAYERS, &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP, "{error:?}");
    assert!(said(&error).contains("`_nested_tensor_from_tensor_list` is a nested tensor"), "{error:?}");
    let (_, outputs) = run(&model, &[view], &[]).unwrap();
    assert_eq!(outputs[0].shape, [2, 4, 4]);
}
