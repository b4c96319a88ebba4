//! Programs, what they are given, and what PyTorch computes of it: see `data/cases.py`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use super::Received;
use super::native::run;
use qp_abi::sdk::DType;
use qp_abi::{ModelBox, TensorView};
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use zip::ZipArchive;

/// Float results of one operator after another: what vector units of another width add up differently.
const FLOAT_TOLERANCE: f64 = 1e-6;

/// A case: its program in a file of its own, and what goes in and comes out.
pub struct Case {
    pub name: String,
    folder: tempfile::TempDir,
    pub values: Value,
}

/// The cases of an archive in `data/`.
pub fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let mut archive = ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .filter(|name| name.ends_with(".pt2"))
        .collect();
    let mut content = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let cases = names.into_iter().map(|file| {
        let name = file.trim_end_matches(".pt2").to_owned();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(&file), content(&file)).unwrap();
        let values = serde_json::from_slice(&content(&format!("{name}.json"))).unwrap();
        Case { name, folder, values }
    });
    cases.collect()
}

impl Case {
    /// Where its program is.
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(format!("{}.pt2", self.name))
    }

    /// Runs the program on the case's inputs.
    pub fn run(&self, model: &ModelBox) -> Result<Vec<Received>, qp_abi::sdk::BackendError> {
        let info = model.info().into_result().unwrap();
        let given: Vec<Tensor> = self.values["inputs"].as_array().unwrap().iter().map(Tensor::of).collect();
        assert_eq!(given.len(), info.inputs.len(), "{}", self.name);
        let views: Vec<TensorView<'_>> = info
            .inputs
            .iter()
            .zip(&given)
            .map(|(input, tensor)| {
                TensorView::whole(input.name.as_str(), tensor.dtype, &tensor.shape, &tensor.bytes)
            })
            .collect();
        run(model, &views, &[]).map(|(_, outputs)| outputs)
    }

    /// Checks that a run on the case's inputs gives what Python's PyTorch gave.
    pub fn agrees(&self, model: &ModelBox) {
        let name = &self.name;
        let outputs = self.run(model).unwrap_or_else(|error| panic!("{name}: {error:?} {}", error.detail));
        let expected: Vec<Tensor> =
            self.values["outputs"].as_array().unwrap().iter().map(Tensor::of).collect();
        assert_eq!(outputs.len(), expected.len(), "{name}");
        for (output, expected) in outputs.iter().zip(expected) {
            assert_eq!(output.dtype, Some(expected.dtype), "{name}");
            assert_eq!(output.shape, expected.shape, "{name}");
            for (one, other) in decoded(output).iter().zip(&expected.numbers) {
                let scale = other.abs().max(1.0);
                let is_same = one == other
                    || (expected.dtype.is_float() && (one - other).abs() <= FLOAT_TOLERANCE * scale);
                assert!(is_same, "{name}: {one} {other}");
            }
        }
    }
}

/// A tensor of a case.
pub struct Tensor {
    pub dtype: DType,
    pub shape: Vec<i64>,
    pub numbers: Vec<f64>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn of(value: &Value) -> Self {
        let dtype = DType::from_name(value["dtype"].as_str().unwrap()).unwrap();
        let shape = value["shape"].as_array().unwrap().iter().map(|size| size.as_i64().unwrap()).collect();
        let number = |number: &Value| match number.as_str() {
            Some(text) => text.parse().unwrap(),
            None => number.as_f64().unwrap(),
        };
        let numbers: Vec<f64> = value["numbers"].as_array().unwrap().iter().map(number).collect();
        let bytes = numbers.iter().flat_map(|number| encoded(dtype, *number)).collect();
        Self { dtype, shape, numbers, bytes }
    }
}

fn encoded(dtype: DType, number: f64) -> Vec<u8> {
    match dtype {
        DType::FLOAT64 => number.to_le_bytes().to_vec(),
        DType::FLOAT32 => (number as f32).to_le_bytes().to_vec(),
        DType::FLOAT16 => half::f16::from_f64(number).to_le_bytes().to_vec(),
        DType::INT64 => (number as i64).to_le_bytes().to_vec(),
        DType::INT32 => (number as i32).to_le_bytes().to_vec(),
        DType::INT16 => (number as i16).to_le_bytes().to_vec(),
        DType::INT8 => (number as i8).to_le_bytes().to_vec(),
        DType::UINT8 => (number as u8).to_le_bytes().to_vec(),
        other => panic!("{other}"),
    }
}

fn decoded(received: &Received) -> Vec<f64> {
    let bytes = received.bytes.as_slice();
    match received.dtype.unwrap() {
        DType::FLOAT64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
        DType::FLOAT32 => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
        DType::FLOAT16 => bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f64()).collect(),
        DType::INT64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
        DType::INT32 => bytes.as_chunks().0.iter().map(|&b| f64::from(i32::from_le_bytes(b))).collect(),
        DType::INT16 => bytes.as_chunks().0.iter().map(|&b| f64::from(i16::from_le_bytes(b))).collect(),
        DType::INT8 => bytes.iter().map(|b| f64::from(b.cast_signed())).collect(),
        DType::UINT8 => bytes.iter().map(|b| f64::from(*b)).collect(),
        other => panic!("{other}"),
    }
}
