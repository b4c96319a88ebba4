//! Eager models whose code would make a program without end, or none: each is written or refused in words, in little time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../tests/fuzz/src/files.rs"]
#[allow(dead_code, reason = "other tests write other files")]
mod files;
mod support;

use qp_abi::ModelBox;
use qp_abi::abi_stable::RRef;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::RSlice;
use qp_abi::manifest::pair;
use qp_abi::sdk::{BackendError, DType, Edit, ErrorKind, ModelInfo, RString, RVec};
use qp_abi::sink::{FnProgress, Progress_TO};
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};
use support::{backend, open};

/// Much more than any of these takes, in a build without optimization and on a busy machine.
const TIME: Duration = Duration::from_secs(20);

/// A file of `torch.save` with an fx graph of one input `x` and that code.
fn saved(lines: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".pt").tempfile().unwrap();
    file.write_all(&files::fx_file(lines)).unwrap();
    file
}

/// The graph as an exported program; its input has samples of that shape.
fn composed(lines: &str, shape: &str) -> Result<ModelInfo, BackendError> {
    let file = saved(lines);
    let began = Instant::now();
    let model = open(&backend(), file.path()).unwrap();
    let described = Edit {
        action: "prepare".into(),
        target: RString::new(),
        arguments: vec![pair("shape:x", shape)].into(),
        dtype: DType::UNDEFINED,
        shape: RVec::new(),
        bytes: RVec::new(),
    };
    let progress = FnProgress(|_: &str, _, _| false);
    let progress = Progress_TO::from_ptr(RRef::new(&progress), TD_Opaque);
    let made = model.edit(RSlice::from_slice(&[described]), progress).into_result();
    assert!(began.elapsed() < TIME, "{:?}", began.elapsed());
    made.map(|model: ModelBox| model.info().into_result().unwrap())
}

/// The shape of the first output, symbols by their text.
fn output(lines: &str, shape: &str) -> Vec<String> {
    let info = composed(lines, shape).unwrap_or_else(|error| panic!("{lines}: {error:?}"));
    let shape = info.outputs[0].shape.clone().into_option().unwrap();
    let size = |size: &qp_abi::sdk::Dimension| match size.symbol.as_str() {
        "" => size.size.to_string(),
        symbol => symbol.to_owned(),
    };
    shape.iter().map(size).collect()
}

/// Shapes by PyTorch's rules for inputs of any size.
#[test]
fn shapes_follow_from_those_of_the_inputs() {
    for (lines, shape, expected) in [
        ("return torch.relu(x).flatten(1)", "2,3,4", &["s0", "(s1*s2)"][..]),
        ("return torch.cat([x, x], 1)", "2,3", &["s0", "(s1 + s1)"]),
        (
            "return torch.nn.functional.max_pool2d(x, 2)",
            "2,3,8,8",
            &["s0", "s1", "((s2 - 2)//2 + 1)", "((s3 - 2)//2 + 1)"],
        ),
        (
            "return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (1, 1, 2, 2)), 3, 1)",
            "2,3,8,8",
            &["s0", "s1", "(s2 + 2)", "s3"],
        ),
        ("return x.view(x.size(0), -1)", "2,3,4", &["s0", "(s1*s2)"]),
        ("return x.view(x.size(0), x.size(1) * x.size(2))", "2,3,4", &["s0", "(s1*s2)"]),
        ("return x.mean([2, 3], keepdim = True)", "2,3,8,8", &["s0", "s1", "1", "1"]),
        ("return x.permute(0, 2, 1).unsqueeze(-1)", "2,3,4", &["s0", "s2", "s1", "1"]),
        ("return x[:, 1:]", "2,3", &["s0", "(s1 - 1)"]),
        ("return x[0]", "2,3", &["s1"]),
        ("return torch.softmax(x @ x.transpose(-1, -2), -1)", "2,3,4", &["s0", "s1", "s1"]),
    ] {
        assert_eq!(output(lines, shape), expected, "{lines}");
    }
}

#[test]
fn code_that_makes_no_program_is_refused() {
    let mut doubled = String::new();
    let mut long = String::new();
    for _ in 0..400 {
        let _ = writeln!(doubled, "x = torch.cat([x, x], 1)");
        let _ = writeln!(long, "x = x.view(x.size(0), -1, 2)");
    }
    let many = format!("return torch.cat([{}], 0)", "x, ".repeat(10_000));
    for code in [
        "return x.view(0, 0, 0, -1)",
        "return x.view(-1, -1)",
        "return x.view(-9223372036854775808, -1)",
        "return x.permute(5, 6)",
        "return x.permute(0, 0, 0, 0)",
        "return x.chunk(0, 1)[0]",
        "return x.chunk(2, -9223372036854775808)[0]",
        "return x.split(0)[0]",
        "return x.split([9223372036854775807, 9223372036854775807], 1)[7]",
        "return x[9223372036854775807:-9223372036854775808:9223372036854775807]",
        "return x.unsqueeze(99)",
        "return x.repeat(9223372036854775807, 9223372036854775807, 9223372036854775807, 9223372036854775807)",
        "return x.flatten(3, 1)",
        "return x.narrow(1, 0, -5)",
        "return torch.nn.functional.max_pool2d(x, 0, 0)",
        "return torch.nn.functional.max_pool2d(x, 9223372036854775807, 1, 9223372036854775807)",
        "return torch.nn.functional.pad(x, (9223372036854775807, 9223372036854775807))",
        "return torch.pixel_shuffle(x, 9223372036854775807)",
        "return torch.pixel_shuffle(x, 0)",
        "return x.mean([7])",
        "return x.sum(-9223372036854775808)",
        "return torch.stack([x, x], 17)",
        "return torch.nn.functional.conv2d(x, x)",
        "return torch.nn.functional.linear(x, x)",
        "return x + x.size(0)",
        "return x.size()",
        "return torch.erfinv(x)",
        &format!("{doubled}return x"),
        &format!("{long}return x"),
        &many,
        &"x = x[None]\n".repeat(100).as_str().chars().chain("return x".chars()).collect::<String>(),
    ] {
        // Some of them are programs that fail when they run.
        if let Err(error) = composed(code, "2,4,8,8") {
            let start: String = code.chars().take(60).collect();
            let is_refusal = [ErrorKind::UNSUPPORTED_OP, ErrorKind::CORRUPT_FILE].contains(&error.kind);
            assert!(is_refusal && !error.message.is_empty(), "{start}: {error:?}");
            assert!(!error.message.contains(|c: char| c.is_control()), "{start}: {error:?}");
        }
    }
    for shape in
        ["", "-1,-1", "9223372036854775807,9223372036854775807,0", "x", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"]
    {
        drop(composed("return torch.relu(x)", shape));
    }
    let error = composed("return torch.erfinv(x)", "2,3").unwrap_err();
    assert!(error.message.contains("`aten::erfinv`"), "{error:?}");
    let error = composed("return torch.relu(x)", "?").unwrap_err();
    assert!(error.message.contains("how many dimensions its input `x` has"), "{error:?}");
}

/// Calls with arguments at random, most of them wrong: each graph is written or refused.
#[test]
fn arguments_at_random_are_written_or_refused() {
    const GRAPHS: usize = 300;
    const CALLS: [&str; 34] = [
        "x.view({}, {})",
        "x.view(x.size({}), {})",
        "x.reshape({}, {}, {})",
        "x.flatten({}, {})",
        "x.permute({}, {}, {})",
        "x.transpose({}, {})",
        "x.unsqueeze({})",
        "x.squeeze({})",
        "x.narrow({}, {}, {})",
        "x.expand({}, {}, {}, {})",
        "x.repeat({}, {}, {}, {})",
        "x[{}:{}]",
        "x[:, {}:{}:{}]",
        "x[{}]",
        "x.chunk({}, {})[{}]",
        "x.split({}, {})[{}]",
        "x.split([{}, {}], {})[{}]",
        "torch.unbind(x, {})[{}]",
        "torch.cat([x, x], {})",
        "torch.stack([x, x], {})",
        "torch.nn.functional.max_pool2d(x, {}, {}, {}, {}, True)",
        "torch.nn.functional.avg_pool2d(x, {}, {}, {})",
        "torch.nn.functional.adaptive_avg_pool2d(x, ({}, {}))",
        "torch.nn.functional.pad(x, ({}, {}, {}, {}))",
        "torch.nn.functional.interpolate(x, size = ({}, {}))",
        "torch.nn.functional.interpolate(x, scale_factor = {})",
        "torch.pixel_shuffle(x, {})",
        "torch.pixel_unshuffle(x, {})",
        "x.mean([{}, {}])",
        "x.sum({}, keepdim = True)",
        "x @ x.transpose({}, {})",
        "x + x.view({}, {}, {}, {})",
        "torch.nn.functional.conv2d(x, x, None, {}, {}, {}, {})",
        "torch.nn.functional.glu(x, {})",
    ];
    const NUMBERS: [i64; 14] =
        [0, 1, 2, 3, 4, -1, -2, -3, 7, 64, 1 << 31, i64::MAX, i64::MIN + 1, -(1 << 40)];
    let mut state = 12_u64;
    let mut chosen = |count: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 40).unwrap() % count
    };
    let mut written = 0;
    for _ in 0..GRAPHS {
        let mut code = String::new();
        for _ in 0..1 + chosen(3) {
            let mut parts = CALLS[chosen(CALLS.len())].split("{}");
            let mut call = parts.next().unwrap().to_owned();
            for part in parts {
                // Small numbers more often than others.
                let number = NUMBERS[if chosen(4) > 0 { chosen(7) } else { chosen(NUMBERS.len()) }];
                let _ = write!(call, "{number}{part}");
            }
            let _ = writeln!(code, "x = {call}");
        }
        code.push_str("return x");
        match composed(&code, "2,4,8,8") {
            Ok(_) => written += 1,
            Err(error) => assert_eq!(error.kind, ErrorKind::UNSUPPORTED_OP, "{code}: {error:?}"),
        }
    }
    assert!(written > GRAPHS / 10, "{written}");
}
