//! Runs with ONNX Runtime: outputs against Python's, inputs and options that do not fit, cancellation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail where it stands"
)]

mod support;

use ndarray::{Array1, Array2, Array4, Ix2, Ix4};
use ndarray_npy::NpzReader;
use qp_abi::sdk::{Backend, DType, ErrorKind, Model, TensorView};
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Ask, bytes_of, open, run, run_with, runner, sample, with_answer};

fn digits(count: usize) -> Vec<f32> {
    let mut file = NpzReader::new(File::open(sample("digits.npz")).unwrap()).unwrap();
    let images: Array4<u8> = file.by_name::<ndarray::OwnedRepr<u8>, Ix4>("images").unwrap();
    images.iter().take(count * 32 * 32 * 3).map(|&pixel| f32::from(pixel)).collect()
}

fn golden(name: &str) -> Array2<f32> {
    let mut file = NpzReader::new(File::open(sample("golden_outputs.npz")).unwrap()).unwrap();
    file.by_name::<ndarray::OwnedRepr<f32>, Ix2>(name).unwrap()
}

fn labels() -> Array1<i64> {
    let mut file = NpzReader::new(File::open(sample("digits.npz")).unwrap()).unwrap();
    file.by_name::<ndarray::OwnedRepr<i64>, ndarray::Ix1>("labels").unwrap()
}

fn largest(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&one, &other| row[one].total_cmp(&row[other])).unwrap()
}

#[test]
fn outputs_are_those_of_pythons_onnx_runtime() {
    let backend = runner();
    let pixels = bytes_of(&digits(100));
    let labels = labels();
    // The int8 kernels of another CPU may round some products the other way.
    for (name, tolerance, least_correct) in
        [("resnet8.onnx", 1e-4, 97), ("resnet8_int8.onnx", 0.05, 96), ("resnet8_uint8.onnx", 0.05, 96)]
    {
        let model = open(&backend, &sample(name)).unwrap();
        let golden = golden(name);
        let info = model.info().unwrap();
        let (mut worst, mut correct) = (0.0_f32, 0);
        for (index, image) in pixels.chunks_exact(32 * 32 * 3 * 4).enumerate() {
            let input = TensorView::whole(&info.inputs[0].name, DType::FLOAT32, &[1, 32, 32, 3], image);
            let (outputs, report) = run(&model, &[input], &Ask::default()).unwrap();
            assert_eq!((outputs.len(), outputs[0].shape.as_slice()), (1, [1, 10].as_slice()));
            assert!(report.elapsed_ns > 0 && report.runtime == "ONNX Runtime");
            let row = outputs[0].floats();
            for (found, known) in row.iter().zip(golden.row(index)) {
                worst = worst.max((found - known).abs());
            }
            correct += usize::from(i64::try_from(largest(&row)).unwrap() == labels[index]);
        }
        println!("{name}: largest difference {worst:e}, {correct} of 100 correct");
        assert!(worst <= tolerance, "{name}: {worst}");
        assert!(correct >= least_correct, "{name}: {correct}");
    }
}

#[test]
fn a_batch_gives_what_its_images_give_one_by_one() {
    let backend = runner();
    let model = open(&backend, &sample("resnet8.onnx")).unwrap();
    let pixels = bytes_of(&digits(8));
    let name = model.info().unwrap().inputs[0].name.to_string();
    let batch = TensorView::whole(&name, DType::FLOAT32, &[8, 32, 32, 3], &pixels);
    let (outputs, _) = run(&model, &[batch], &Ask::default()).unwrap();
    let together = outputs[0].floats();
    for (index, image) in pixels.chunks_exact(32 * 32 * 3 * 4).enumerate() {
        let one = TensorView::whole(&name, DType::FLOAT32, &[1, 32, 32, 3], image);
        let (outputs, _) = run(&model, &[one], &Ask::default()).unwrap();
        for (one, other) in outputs[0].floats().iter().zip(&together[index * 10..]) {
            assert!((one - other).abs() < 1e-5);
        }
    }
}

#[test]
fn bytes_that_are_not_aligned_are_taken_too() {
    let backend = runner();
    let model = open(&backend, &sample("resnet8.onnx")).unwrap();
    let mut shifted = vec![0_u8];
    shifted.extend(bytes_of(&digits(1)));
    let name = model.info().unwrap().inputs[0].name.to_string();
    let aligned = shifted[1..].to_vec();
    let of = |bytes: &[u8]| {
        let input = TensorView::whole(&name, DType::FLOAT32, &[1, 32, 32, 3], bytes);
        run(&model, &[input], &Ask::default()).unwrap().0
    };
    assert_eq!(of(&shifted[1..]), of(&aligned));
}

#[test]
fn inputs_that_do_not_fit_are_refused_with_both_sides_named() {
    let backend = runner();
    let model = open(&backend, &sample("resnet8.onnx")).unwrap();
    let pixels = bytes_of(&digits(1));
    let name = model.info().unwrap().inputs[0].name.to_string();
    let refused = |inputs: &[TensorView<'_>]| {
        let error = run(&model, inputs, &Ask::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::INVALID_INPUT, "{error:?}");
        error.message.to_string()
    };
    let good = TensorView::whole(&name, DType::FLOAT32, &[1, 32, 32, 3], &pixels);
    assert_eq!(refused(&[]), format!("the input `{name}` is missing"));
    assert_eq!(refused(&[good, good]), format!("the input `{name}` is given twice"));
    let other = TensorView { name: "x".into(), ..good };
    assert_eq!(refused(&[good, other]), "the model has no input `x`");
    let bytes = TensorView { dtype: DType::UINT8, ..good };
    assert_eq!(refused(&[bytes]), format!("the input `{name}` is uint8, but the model takes float32"));
    let flat = TensorView::whole(&name, DType::FLOAT32, &[1, 3072], &pixels);
    assert!(refused(&[flat]).contains("has shape [1, 3072], but the model takes ["));
    let wide = TensorView::whole(&name, DType::FLOAT32, &[1, 32, 33, 3], &pixels);
    assert!(refused(&[wide]).contains("has shape [1, 32, 33, 3], but the model takes ["));
    let short = TensorView::whole(&name, DType::FLOAT32, &[1, 32, 32, 3], &pixels[4..]);
    assert!(refused(&[short]).contains("holds 12284 bytes"));
}

#[test]
fn options_take_effect_and_unknown_ones_are_refused() {
    let backend = runner();
    let model = open(&backend, &sample("resnet8_int8.onnx")).unwrap();
    let pixels = bytes_of(&digits(1));
    let name = model.info().unwrap().inputs[0].name.to_string();
    let input = TensorView::whole(&name, DType::FLOAT32, &[1, 32, 32, 3], &pixels);
    let settings = |options: &[(&str, &str)]| {
        let ask = Ask { options, ..Ask::default() };
        run(&model, &[input], &ask).map(|(_, report)| {
            let of = |name| qp_abi::manifest::lookup(&report.settings, name).unwrap().to_owned();
            (of("optimization"), of("threads"))
        })
    };
    let threads = std::thread::available_parallelism().unwrap().to_string();
    assert_eq!(settings(&[]).unwrap(), ("all".to_owned(), threads));
    assert_eq!(
        settings(&[("optimization", "disable"), ("threads", "1")]).unwrap(),
        ("disable".into(), "1".into())
    );
    for wrong in [("optimization", "most"), ("threads", "0"), ("threads", "many"), ("speed", "high")] {
        assert_eq!(settings(&[wrong]).unwrap_err().kind, ErrorKind::INVALID_INPUT, "{wrong:?}");
    }
}

#[test]
fn named_outputs_come_in_the_order_asked_and_others_are_refused() {
    let backend = runner();
    let model = open(&backend, &sample("resnet8.onnx")).unwrap();
    let pixels = bytes_of(&digits(1));
    let info = model.info().unwrap();
    let input = TensorView::whole(&info.inputs[0].name, DType::FLOAT32, &[1, 32, 32, 3], &pixels);
    let output = info.outputs[0].name.as_str();
    let ask = |names: &[&str]| run(&model, &[input], &Ask { names: Some(names), ..Ask::default() });
    let twice = ask(&[output, output]).unwrap().0;
    assert_eq!((twice.len(), &twice[0]), (2, &twice[1]));
    assert!(ask(&[]).unwrap().0.is_empty());
    assert_eq!(ask(&["nothing"]).unwrap_err().kind, ErrorKind::NOT_FOUND);
}

#[test]
fn a_long_run_stops_when_the_host_no_longer_wants_it() {
    let backend = runner();
    let model = open(&backend, &sample("resnet8.onnx")).unwrap();
    let name = model.info().unwrap().inputs[0].name.to_string();
    // Enough images for several seconds.
    let count = 3000_usize;
    let pixels = vec![0_u8; count * 32 * 32 * 3 * 4];
    let shape = [i64::try_from(count).unwrap(), 32, 32, 3];
    let input = TensorView::whole(&name, DType::FLOAT32, &shape, &pixels);
    let asked = AtomicUsize::new(0);
    // Asked before the session, before the run, and then from the watcher.
    let answer = || asked.fetch_add(1, Ordering::Relaxed) >= 3;
    let start = std::time::Instant::now();
    let outcome = with_answer(answer, |progress| run_with(&model, &[input], &Ask::default(), progress));
    println!("stopped after {:?}", start.elapsed());
    assert_eq!(outcome.unwrap_err().kind, ErrorKind::CANCELLED);
    let one = TensorView::whole(&name, DType::FLOAT32, &[1, 32, 32, 3], &pixels[..32 * 32 * 3 * 4]);
    assert!(run(&model, &[one], &Ask::default()).is_ok(), "the session still works");
}

#[test]
fn nothing_native_is_loaded_before_the_first_run_and_one_library_serves_all_backends() {
    let (one, other) = (runner(), runner());
    let model = open(&one, &sample("resnet8.onnx")).unwrap();
    let pixels = bytes_of(&digits(1));
    let name = model.info().unwrap().inputs[0].name.to_string();
    let input = TensorView::whole(&name, DType::FLOAT32, &[1, 32, 32, 3], &pixels);
    let first = run(&model, &[input], &Ask::default()).unwrap().0;
    assert!(one.runtime().is_loaded && other.runtime().is_loaded);
    let again = open(&other, &sample("resnet8.onnx")).unwrap();
    assert_eq!(run(&again, &[input], &Ask::default()).unwrap().0, first);
}
