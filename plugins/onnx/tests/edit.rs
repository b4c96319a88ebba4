//! Changes to models in memory, run with ONNX Runtime.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use qp_abi::manifest::{Pair, pair};
use qp_abi::sdk::{DType, Edit, ErrorKind, Fetch, Model, RString, RunRequest, TensorView};
use qp_plugin_onnx::model::OnnxModel;
use support::build::{floats, graph, model, node, saved, value};
use support::{bytes_of, collect, open, runner, with_progress};

/// y = relu(x + b) for four numbers.
fn small() -> (tempfile::TempDir, std::path::PathBuf) {
    let mut whole = graph(
        vec![node("Add", &["x", "b"], &["sum"]), node("Relu", &["sum"], &["y"])],
        vec![floats("b", &[4], &[0.25, 0.0, 0.0, -1.0])],
    );
    whole.input = vec![value("x", DType::FLOAT32, Some(&[4]))];
    whole.output = vec![value("y", DType::FLOAT32, Some(&[4]))];
    saved(&model(whole))
}

fn edit(action: &str, target: &str, arguments: Vec<Pair>) -> Edit {
    Edit {
        action: action.into(),
        target: target.into(),
        arguments: arguments.into(),
        dtype: DType::UINT8,
        shape: Vec::new().into(),
        bytes: Vec::new().into(),
    }
}

fn rounded(target: &str, result: &str) -> Edit {
    let arguments = vec![pair("as", result), pair("scales", "0.5"), pair("zero-points", "2")];
    edit("quantize", target, arguments)
}

/// The named values of x = (0.6, -0.3, 200, 1), with the switch if there is one.
fn values(edited: &qp_abi::ModelBox, wanted: &[&str], switch: Option<bool>) -> Vec<Vec<f32>> {
    let bytes = bytes_of(&[0.6, -0.3, 200.0, 1.0]);
    let flag = [u8::from(switch.unwrap_or_default())];
    let mut inputs = vec![TensorView::whole("x", DType::FLOAT32, &[4], &bytes)];
    if switch.is_some() {
        inputs.push(TensorView::whole("on", DType::BOOL, &[], &flag));
    }
    let names: Vec<RString> = wanted.iter().map(|name| RString::from(*name)).collect();
    let request = RunRequest {
        inputs: inputs.as_slice().into(),
        fetch: Fetch::NAMED,
        names: names.as_slice().into(),
        options: [].as_slice().into(),
    };
    let received = collect(|sink| {
        with_progress(|progress| {
            edited.run(request, sink.as_raw(), progress.as_raw()).into_result().map(|_| ())
        })
    });
    received.unwrap().iter().map(support::Received::floats).collect()
}

fn edited(model: &OnnxModel, edits: &[Edit]) -> Result<qp_abi::ModelBox, qp_abi::sdk::BackendError> {
    with_progress(|progress| model.edit(edits, progress))
}

/// By hand: round half to even of value / 0.5, plus 2, kept to 0..=255, and back.
#[test]
fn a_stand_in_computes_beside_its_layer_and_in_its_place() {
    let (_folder, path) = small();
    let model = open(&runner(), &path).unwrap();
    let beside = vec![
        rounded("x", "x.rounded"),
        edit("copy-layer", "sum", vec![pair("suffix", "#2"), pair("input:x", "x.rounded")]),
        edit("copy-layer", "y", vec![pair("suffix", "#2"), pair("input:sum", "sum#2")]),
    ];
    let changed = edited(&model, &beside).unwrap();
    let found = values(&changed, &["x.rounded", "y#2", "y"], None);
    assert_eq!(found[0], [0.5, -0.5, 126.5, 1.0]);
    assert_eq!(found[1], [0.75, 0.0, 126.5, 0.0]);
    assert_eq!(found[2], [0.85, 0.0, 200.0, 0.0]);

    let mut switched = beside;
    switched.push(edit("select", "y", vec![pair("switch", "on"), pair("then", "y#2")]));
    let changed = edited(&model, &switched).unwrap();
    assert_eq!(changed.info().into_result().unwrap().inputs.len(), 2);
    assert_eq!(values(&changed, &["y"], Some(true))[0], [0.75, 0.0, 126.5, 0.0]);
    assert_eq!(values(&changed, &["y"], Some(false))[0], [0.85, 0.0, 200.0, 0.0]);
}

/// A scale for each of four channels, and a stored tensor that replaces another.
#[test]
fn channels_have_scales_of_their_own_and_weights_are_replaced() {
    let (_folder, path) = small();
    let model = open(&runner(), &path).unwrap();
    let channels = vec![
        pair("as", "x.rounded"),
        pair("scales", "1,0.25,100,0.3"),
        pair("zero-points", "128,128,128,128"),
        pair("axis", "0"),
    ];
    let store = Edit {
        dtype: DType::FLOAT32,
        shape: vec![4].into(),
        bytes: bytes_of(&[10.0; 4]).into(),
        ..edit("store", "ten", Vec::new())
    };
    let changed = edited(
        &model,
        &[
            edit("quantize", "x", channels),
            store,
            edit("copy-layer", "sum", vec![pair("suffix", "#2"), pair("input:b", "ten")]),
        ],
    )
    .unwrap();
    let found = values(&changed, &["x.rounded", "sum#2"], None);
    for (found, expected) in found[0].iter().zip([1.0, -0.25, 200.0, 0.9]) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    assert_eq!(found[1], [10.6, 9.7, 210.0, 11.0]);
}

/// As above, with codes kept to 1..=4, which are the real numbers from -0.5 to 1.
#[test]
fn codes_may_be_fewer_than_the_dtype_has() {
    let (_folder, path) = small();
    let model = open(&runner(), &path).unwrap();
    let mut narrow = rounded("x", "x.rounded");
    narrow.arguments.push(pair("codes", "1,4"));
    let changed = edited(&model, &[narrow.clone()]).unwrap();
    assert_eq!(values(&changed, &["x.rounded"], None)[0], [0.5, -0.5, 1.0, 1.0]);
    narrow.arguments.pop();
    narrow.arguments.push(pair("codes", "4,1"));
    assert_eq!(edited(&model, &[narrow]).err().unwrap().kind, ErrorKind::INVALID_INPUT);
}

/// By hand: codes 3, 1, 255 and 4 (round half to even of value / 0.5, plus 2), read with 0.25 and 1.
#[test]
fn codes_may_be_read_with_other_scales_than_they_were_made_with() {
    let (_folder, path) = small();
    let model = open(&runner(), &path).unwrap();
    let mut rescaled = rounded("x", "x.rounded");
    rescaled.arguments.push(pair("read-scales", "0.25"));
    rescaled.arguments.push(pair("read-zero-points", "1"));
    let changed = edited(&model, &[rescaled.clone()]).unwrap();
    assert_eq!(values(&changed, &["x.rounded"], None)[0], [0.5, 0.0, 63.5, 0.75]);
    rescaled.arguments.push(pair("codes", "2,3"));
    let changed = edited(&model, &[rescaled.clone()]).unwrap();
    assert_eq!(values(&changed, &["x.rounded"], None)[0], [0.5, 0.25, 0.5, 0.5]);
    rescaled.arguments[3] = pair("read-scales", "0.25,1");
    assert_eq!(edited(&model, &[rescaled]).err().unwrap().kind, ErrorKind::INVALID_INPUT);
}

/// x + b, and x as a column: each of four numbers plus each.
#[test]
fn a_value_is_added_to_another_also_along_an_earlier_dimension() {
    let (_folder, path) = small();
    let model = open(&runner(), &path).unwrap();
    let add = |name: &str, behind: &str| {
        edit("add", "x", vec![pair("other", "b"), pair("as", name), pair("behind", behind)])
    };
    let changed = edited(&model, &[add("same", "0"), add("column", "1")]).unwrap();
    let found = values(&changed, &["same", "column"], None);
    let x = [0.6_f32, -0.3, 200.0, 1.0];
    assert_eq!(found[0], [0.85, -0.3, 200.0, 0.0]);
    let columns: Vec<f32> = [0.25, 0.0, 0.0, -1.0].iter().flat_map(|b| x.map(|x| x + b)).collect();
    assert_eq!(found[1], columns);
    assert_eq!(edited(&model, &[add("many", "99")]).err().unwrap().kind, ErrorKind::INVALID_INPUT);
}

/// (3 - 1) / 2, (-2 - 1) / 2, 5 * 2 and 0, in four rows, each plus the four numbers of x.
#[test]
fn stored_codes_are_dequantized_by_the_runtime() {
    let (_folder, path) = small();
    let model = open(&runner(), &path).unwrap();
    let codes = Edit {
        dtype: DType::INT8,
        shape: vec![4, 1].into(),
        bytes: [3_i8, -2, 5, 0].map(|code| code as u8).to_vec().into(),
        ..edit("store", "codes", Vec::new())
    };
    let arguments = vec![
        pair("as", "real"),
        pair("scales", "0.5,0.5,2,2"),
        pair("zero-points", "1,1,0,0"),
        pair("axis", "0"),
    ];
    let meant = Edit { dtype: DType::INT8, ..edit("dequantize", "codes", arguments) };
    let add = edit("copy-layer", "sum", vec![pair("suffix", "#2"), pair("input:b", "real")]);
    let changed = edited(&model, &[codes, meant, add]).unwrap();
    let x = [0.6_f32, -0.3, 200.0, 1.0];
    let rows: Vec<f32> = [1.0, -1.5, 10.0, 0.0].iter().flat_map(|real| x.map(|x| x + real)).collect();
    assert_eq!(values(&changed, &["sum#2"], None)[0], rows);
}

/// 40,000 codes `index mod 7 - 3`, with the scale 2; the last row of four, plus the four numbers of x.
#[test]
fn a_large_stored_tensor_stays_outside_of_the_model() {
    let (_folder, path) = small();
    let model = open(&runner(), &path).unwrap();
    let codes: Vec<i8> = (0..160_000_i32).map(|index| (index % 7 - 3) as i8).collect();
    let codes = Edit {
        dtype: DType::INT8,
        shape: vec![40_000, 4].into(),
        bytes: codes.iter().map(|code| *code as u8).collect::<Vec<_>>().into(),
        ..edit("store", "codes", Vec::new())
    };
    let arguments = vec![pair("as", "real"), pair("scales", "2"), pair("zero-points", "0")];
    let meant = Edit { dtype: DType::INT8, ..edit("dequantize", "codes", arguments) };
    let add = edit("copy-layer", "sum", vec![pair("suffix", "#2"), pair("input:b", "real")]);
    let changed = edited(&model, &[codes, meant, add]).unwrap();
    let stored = || {
        let whole = collect(|sink| {
            with_progress(|progress| {
                changed.read_tensor("codes".into(), sink.as_raw(), progress.as_raw()).into_result()
            })
        });
        whole.unwrap()[0].bytes.clone()
    };
    let before = stored();
    // 159,996 mod 7 is 4.
    assert_eq!((before.len(), &before[159_996..]), (160_000, [1, 2, 3, 253].as_slice()));
    let last = [0.6_f32 + 2.0, -0.3 + 4.0, 200.0 + 6.0, 1.0 - 6.0];
    let found = values(&changed, &["sum#2"], None);
    assert_eq!(found[0][159_996..], last);
    // Now the runtime has them.
    assert_eq!(stored(), before);
    // A change of what has been changed keeps it.
    let more = with_progress(|progress| {
        let edits = [edit("copy-layer", "y", vec![pair("suffix", "#2"), pair("input:sum", "sum#2")])];
        changed.edit(edits.as_slice().into(), progress.as_raw()).into_result()
    });
    assert_eq!(values(&more.unwrap(), &["y#2"], None)[0][159_996..], last.map(|value| value.max(0.0)));
}

/// Runs that differ in two switches, in every order of the four: each gives what a single run gives.
#[test]
fn runs_that_repeat_each_other_give_what_each_gives_alone() {
    let (_folder, path) = small();
    let model = open(&runner(), &path).unwrap();
    let edits = [
        rounded("x", "x.rounded"),
        edit("copy-layer", "sum", vec![pair("suffix", "#2"), pair("input:x", "x.rounded")]),
        edit("copy-layer", "y", vec![pair("suffix", "#2")]),
        rounded("y#2", "y.rounded"),
        edit("select", "sum", vec![pair("switch", "first"), pair("then", "sum#2")]),
        edit("select", "y", vec![pair("switch", "second"), pair("then", "y.rounded")]),
    ];
    let changed = edited(&model, &edits).unwrap();
    let run = |switches: [bool; 2], scale: f32, replay: bool| {
        let bytes = bytes_of(&[0.6, -0.3, 200.0, 1.0].map(|x: f32| x * scale));
        let flags = switches.map(|on| [u8::from(on)]);
        let inputs = [
            TensorView::whole("x", DType::FLOAT32, &[4], &bytes),
            TensorView::whole("first", DType::BOOL, &[], &flags[0]),
            TensorView::whole("second", DType::BOOL, &[], &flags[1]),
        ];
        let names = [RString::from("y")];
        let options = [pair("optimization", "disable"), pair("replay", "1000000")];
        let request = RunRequest {
            inputs: inputs.as_slice().into(),
            fetch: Fetch::NAMED,
            names: names.as_slice().into(),
            options: options[..if replay { 2 } else { 1 }].into(),
        };
        let received = collect(|sink| {
            with_progress(|progress| {
                changed.run(request, sink.as_raw(), progress.as_raw()).into_result().map(|_| ())
            })
        });
        received.unwrap()[0].floats()
    };
    let states = [[false, false], [true, true], [true, false], [false, true]];
    // By hand: x + (0.25, 0, 0, -1) and values below 0 cut off; x in steps of 0.5 from -1 to 126.5.
    assert_eq!(run([false, false], 1.0, true), [0.85, 0.0, 200.0, 0.0]);
    assert_eq!(run([true, false], 1.0, true), [0.75, 0.0, 126.5, 0.0]);
    for first in states {
        for second in states {
            for scale in [1.0, 2.0] {
                for state in [first, second] {
                    assert_eq!(
                        run(state, scale, true),
                        run(state, scale, false),
                        "{first:?} {second:?} {scale}"
                    );
                }
            }
        }
    }
}

#[test]
fn changes_that_make_no_sense_are_refused_and_change_nothing() {
    let (_folder, path) = small();
    let model = open(&runner(), &path).unwrap();
    let refused = |edit: Edit| edited(&model, &[edit]).err().unwrap().kind;
    assert_eq!(refused(edit("remove", "y", Vec::new())), ErrorKind::UNSUPPORTED_OP);
    assert_eq!(refused(rounded("nothing", "z")), ErrorKind::NOT_FOUND);
    assert_eq!(refused(rounded("x", "y")), ErrorKind::INVALID_INPUT);
    assert_eq!(refused(edit("quantize", "x", vec![pair("as", "z")])), ErrorKind::INVALID_INPUT);
    let many = vec![pair("as", "z"), pair("scales", "1,2"), pair("zero-points", "0,0")];
    assert_eq!(refused(edit("quantize", "x", many)), ErrorKind::INVALID_INPUT);
    let odd = vec![pair("as", "z"), pair("scales", "NaN"), pair("zero-points", "0")];
    assert_eq!(refused(edit("quantize", "x", odd)), ErrorKind::INVALID_INPUT);
    assert_eq!(refused(edit("copy-layer", "b", vec![pair("suffix", "#2")])), ErrorKind::NOT_FOUND);
    let select = vec![pair("switch", "on"), pair("then", "b")];
    assert_eq!(refused(edit("select", "x", select)), ErrorKind::NOT_FOUND);
    assert_eq!(model.info().unwrap().inputs.len(), 1);
}
