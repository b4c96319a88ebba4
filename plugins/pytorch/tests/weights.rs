//! Files that hold weights alone: what quantizers pack, and checkpoints in several files. Expected sums are those
//! that `tests/data/make.py` prints: of what the quantizers' own code makes of the codes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::sdk::{
    AttributeValue, DType, ErrorKind, ModelInfo, QuantizationParameters, RNone, RSome, Severity, TensorInfo,
    TensorRole,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use support::{backend, inspect, open, read_real, read_tensor};
use tempfile::TempDir;

/// Sums of some thousand float32 products.
const SUM_TOLERANCE: f64 = 1e-6;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn tensor<'a>(info: &'a ModelInfo, name: &str) -> &'a TensorInfo {
    info.tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no tensor {name}"))
}

fn parameters<'a>(info: &'a ModelInfo, name: &str) -> &'a QuantizationParameters {
    tensor(info, name).quantization.as_ref().into_option().unwrap_or_else(|| panic!("{name} has no scales"))
}

fn attribute(info: &ModelInfo, layer: &str, name: &str) -> AttributeValue {
    let layer = info.layers.iter().find(|found| found.path == layer).unwrap();
    layer.attributes.iter().find(|found| found.name == name).unwrap().value.clone()
}

fn numbers(path: &Path, name: &str) -> Vec<f64> {
    let received = read_tensor(&open(&backend(), path).unwrap(), name).unwrap();
    let nibbles = || received.bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
    let e2m1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    match received.dtype.unwrap() {
        DType::INT8 => received.bytes.iter().map(|byte| f64::from(byte.cast_signed())).collect(),
        DType::UINT8 => received.bytes.iter().map(|byte| f64::from(*byte)).collect(),
        DType::INT4 => nibbles().map(|code| f64::from((code ^ 8).cast_signed() - 8)).collect(),
        DType::UINT4 => nibbles().map(f64::from).collect(),
        DType::UINT2 => received
            .bytes
            .iter()
            .flat_map(|byte| [0, 2, 4, 6].map(|bit| f64::from(byte >> bit & 3)))
            .collect(),
        DType::FLOAT4_E2M1 => {
            nibbles().map(|code| e2m1[usize::from(code & 7)] * if code > 7 { -1.0 } else { 1.0 }).collect()
        }
        DType::FLOAT8_E4M3FN => received.bytes.iter().map(|byte| e4m3(*byte)).collect(),
        // The table that the file brings along.
        DType::NF4 => {
            let table = numbers(path, &format!("{name}.quant_map"));
            nibbles().map(|code| table[usize::from(code)]).collect()
        }
        DType::FLOAT32 => received.floats().iter().map(|&number| number.into()).collect(),
        DType::FLOAT64 => {
            received.bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
        }
        other => panic!("{other}"),
    }
}

fn e4m3(code: u8) -> f64 {
    let (exponent, fraction) = (i32::from(code >> 3 & 15), f64::from(code & 7));
    let magnitude = match exponent {
        0 => fraction / 512.0,
        _ => (1.0 + fraction / 8.0) * 2_f64.powi(exponent - 7),
    };
    if code > 127 { -magnitude } else { magnitude }
}

/// The real values of a matrix, as the contract defines them.
fn dequantized(path: &Path, info: &ModelInfo, name: &str) -> Vec<f64> {
    let parameters = parameters(info, name);
    let columns = *tensor(info, name).shape.last().unwrap() as usize;
    let scale_of = |index: usize| match (parameters.axis, parameters.block_size) {
        (RNone, _) => 0,
        (RSome(0), RNone) => index / columns,
        (RSome(1), RSome(block)) => {
            let across = columns / block as usize;
            index / columns * across + index % columns / block as usize
        }
        other => panic!("{other:?}"),
    };
    let value = |(index, code): (usize, f64)| {
        let zero_point = parameters.zero_points.get(scale_of(index)).copied().unwrap_or(0.0);
        (code - zero_point) * parameters.scales[scale_of(index)]
    };
    numbers(path, name).into_iter().enumerate().map(value).collect()
}

fn assert_sums(path: &Path, info: &ModelInfo, name: &str, sum: f64, ramp: f64) {
    let values = dequantized(path, info, name);
    assert_eq!(values.len(), 32 * 128, "{name}");
    let found: f64 = values.iter().sum();
    let weighted: f64 = values.iter().enumerate().map(|(index, value)| (index + 1) as f64 * value).sum();
    let is_close = |found: f64, expected: f64| ((found - expected) / expected).abs() < SUM_TOLERANCE;
    assert!(is_close(found, sum) && is_close(weighted, ramp), "{name}: {found} {weighted}");
}

#[test]
fn packed_weights_stand_for_what_their_quantizers_say() {
    let path = data("packed.safetensors");
    let info = inspect(&path).unwrap();
    for (name, sum, ramp) in [
        ("nf4.weight", -41.02911078929901, -231386.90867985785),
        ("nf4_nested.weight", -41.0612580627203, -231351.84830211103),
        ("int8.weight", -39.7107983123599, -225945.12186136204),
        ("gptq2.qweight", -42.900390625, -271615.80712890625),
        ("gptq3.qweight", -28.681884765625, -205983.19067382812),
        ("gptq4.qweight", -44.7825927734375, -236009.55078125),
        ("gptq8.qweight", -39.145660400390625, -225033.09106445312),
        ("awq.qweight", -44.7825927734375, -236009.55078125),
        ("compressed.weight_packed", -44.7825927734375, -236009.55078125),
        ("fp8.weight", -42.16629033721256, -230041.8718084969),
        ("mx.down_blocks", -32.625, -210197.375),
    ] {
        assert_sums(&path, &info, name, sum, ramp);
        let weight = tensor(&info, name);
        assert_eq!((weight.role, weight.shape.as_slice()), (TensorRole::PARAMETER, &[32, 128][..]), "{name}");
    }
    // Twelve weights, that of the layer without scales too, and nothing else is a parameter.
    let parameters = info.tensors.iter().filter(|tensor| tensor.role == TensorRole::PARAMETER);
    assert_eq!(parameters.map(|tensor| tensor.shape.iter().product::<i64>()).sum::<i64>(), 12 * 32 * 128);
    assert_eq!(info.scheme, "AWQ + GPTQ + MXFP4 + bitsandbytes + block FP8 + compressed-tensors");
    assert_eq!(info.precision, "mixed");
}

#[test]
fn a_layer_says_how_it_was_packed() {
    let info = inspect(&data("packed.safetensors")).unwrap();
    let text = |text: &str| AttributeValue::Text(text.into());
    assert_eq!(attribute(&info, "nf4", "quantization type"), text("nf4"));
    assert_eq!(attribute(&info, "nf4", "stands for"), text("float32"));
    assert_eq!(attribute(&info, "nf4", "block size"), AttributeValue::Int(64));
    assert_eq!(attribute(&info, "int8", "quantization type"), text("LLM.int8"));
    assert_eq!(attribute(&info, "gptq3", "bits"), AttributeValue::Int(3));
    assert_eq!(attribute(&info, "awq", "group size"), AttributeValue::Int(32));
    let form =
        |path: &str| info.layers.iter().find(|layer| layer.path == path).unwrap().quantization.to_string();
    assert_eq!(
        (form("nf4"), form("gptq4"), form("awq")),
        ("bitsandbytes".into(), "gptq".into(), "awq".into())
    );
    let parts = ["nf4.weight.absmax", "int8.SCB", "gptq4.g_idx", "gptq4.scales", "compressed.weight_shape"];
    assert!(parts.iter().all(|part| tensor(&info, part).role == TensorRole::QUANTIZATION));
}

/// The scales of a group belong to inputs that do not lie side by side.
#[test]
fn codes_in_another_order_have_no_scales_and_a_reason() {
    let info = inspect(&data("packed.safetensors")).unwrap();
    let codes = tensor(&info, "shuffled.qweight");
    assert_eq!(
        (codes.dtype, codes.shape.as_slice(), &codes.quantization),
        (DType::UINT4, &[32, 128][..], &RNone)
    );
    let finding = info.findings.iter().find(|finding| finding.code == "weights.no-scales").unwrap();
    assert_eq!(support::names(&finding.subjects), ["shuffled.qweight"]);
    assert!(finding.message.contains("act-order"), "{}", finding.message);
}

#[test]
fn torchao_is_read_from_pickles_and_from_safetensors() {
    let intx = ("intx.weight.qdata", -56.75757558643818, -263350.30237060785);
    for file in ["torchao.pt", "torchao.safetensors"] {
        let info = inspect(&data(file)).unwrap();
        assert_sums(&data(file), &info, intx.0, intx.1, intx.2);
        assert_eq!(parameters(&info, intx.0).dtype, DType::INT4, "codes of 4 bits in bytes");
        assert_eq!((info.precision.as_str(), info.scheme.as_str()), ("weight-only-int4", "torchao"));
        assert_eq!(
            attribute(&info, "intx", "class"),
            AttributeValue::Text("IntxUnpackedToInt8Tensor".into())
        );
    }
    let info = inspect(&data("torchao.pt")).unwrap();
    assert_sums(&data("torchao.pt"), &info, "int4.weight.qdata", -27.669139489531517, -194102.81680580974);
    assert_eq!(tensor(&info, "int4.weight.qdata").bytes, 32 * 128 / 2);
    assert_eq!(tensor(&info, "int4.weight.scale").shape.as_slice(), [32, 4]);
}

/// A file of the safetensors library, laid out by hand: names, types, shapes and bytes.
fn safetensors(tensors: &[(&str, &str, &[i64], Vec<u8>)]) -> Vec<u8> {
    let mut header = String::from("{");
    let mut bytes = Vec::new();
    for (name, dtype, shape, content) in tensors {
        let separator = if header.len() > 1 { "," } else { "" };
        let (begin, end) = (bytes.len(), bytes.len() + content.len());
        header += &format!(
            "{separator}\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{begin},{end}]}}"
        );
        bytes.extend_from_slice(content);
    }
    header.push('}');
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat()
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn scales_that_are_too_many_to_list_are_a_tensor() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("wide.safetensors");
    let rows = QuantizationParameters::MAX_INLINE + 1;
    let largest: Vec<f32> = (0..rows).map(|row| row as f32).collect();
    let tensors = [
        ("a.weight", "I8", &[rows as i64, 1][..], vec![5; rows]),
        ("a.SCB", "F32", &[rows as i64][..], floats(&largest)),
    ];
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    let info = inspect(&path).unwrap();
    let parameters = parameters(&info, "a.weight");
    assert!(parameters.scales.is_empty());
    assert_eq!((parameters.scale_count, parameters.scale_name.as_str()), (rows as u64, "a.SCB.scales"));
    let scales = tensor(&info, "a.SCB.scales");
    assert_eq!((scales.alias_of.as_str(), scales.role), ("a.SCB", TensorRole::QUANTIZATION));
    let scales = numbers(&path, "a.SCB.scales");
    assert_eq!((scales.len(), scales[254]), (rows, 2.0));
}

/// A checkpoint in two shards, `a` and `b` in the first, `c` in the second.
fn checkpoint(folder: &Path) -> PathBuf {
    let first =
        [("a.weight", "F32", &[2][..], floats(&[1.5, 2.5])), ("b.weight", "F32", &[1], floats(&[3.5]))];
    let second = [("c.weight", "F32", &[2][..], floats(&[4.5, 5.5]))];
    std::fs::write(folder.join("model-1.safetensors"), safetensors(&first)).unwrap();
    std::fs::write(folder.join("model-2.safetensors"), safetensors(&second)).unwrap();
    index(
        folder,
        r#""a.weight":"model-1.safetensors","b.weight":"model-1.safetensors","c.weight":"model-2.safetensors""#,
    )
}

fn index(folder: &Path, map: &str) -> PathBuf {
    let path = folder.join("model.safetensors.index.json");
    std::fs::write(&path, format!(r#"{{"metadata":{{"total_size":20}},"weight_map":{{{map}}}}}"#)).unwrap();
    path
}

#[test]
fn shards_are_one_model() {
    let folder = TempDir::new().unwrap();
    let path = checkpoint(folder.path());
    let info = inspect(&path).unwrap();
    assert_eq!((info.format.as_str(), info.precision.as_str()), ("sharded", "float32"));
    let layers: Vec<&str> = info.layers.iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(layers, ["a", "b", "c"]);
    assert_eq!(tensor(&info, "c.weight").external_file, "model-2.safetensors");
    assert_eq!(numbers(&path, "a.weight"), [1.5, 2.5]);
    assert_eq!(numbers(&path, "c.weight"), [4.5, 5.5]);
    assert!(info.findings.is_empty(), "{:?}", info.findings);
    let help = info.run_obstacle.into_option().unwrap().help;
    assert!(help.contains("weight_map") && help.contains("safetensors.torch.load_file"), "{help}");
}

#[test]
fn what_a_shard_does_not_hold_is_named_and_the_rest_is_there() {
    let folder = TempDir::new().unwrap();
    let path = checkpoint(folder.path());
    let finding = |code: &str| {
        let info = inspect(&path).unwrap();
        assert_eq!(numbers(&path, "a.weight"), [1.5, 2.5]);
        let found = info.findings.iter().find(|finding| finding.code == code).cloned();
        let found = found.unwrap_or_else(|| panic!("no {code} in {:?}", info.findings));
        (support::names(&found.subjects).join(","), found.severity, info)
    };
    let second = folder.path().join("model-2.safetensors");
    let whole = std::fs::read(&second).unwrap();
    std::fs::write(&second, &whole[..whole.len() - 1]).unwrap();
    let (subjects, _, info) = finding("shards.unreadable");
    assert_eq!((subjects.as_str(), tensor(&info, "c.weight").shape.as_slice()), ("c.weight", &[2][..]));
    let error = read_tensor(&open(&backend(), &path).unwrap(), "c.weight").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NOT_FOUND);
    std::fs::remove_file(&second).unwrap();
    let (subjects, severity, info) = finding("shards.missing");
    assert_eq!((subjects.as_str(), severity), ("c.weight", Severity::WARNING));
    assert_eq!(tensor(&info, "c.weight").external_file, "model-2.safetensors");
    std::fs::write(&second, safetensors(&[("d.weight", "F32", &[1], floats(&[0.0]))])).unwrap();
    assert_eq!(finding("shards.unlisted-tensors").0, "d.weight");
    assert_eq!(finding("shards.unreadable").0, "c.weight");
}

#[test]
fn a_shard_outside_of_the_folder_is_not_read() {
    let folder = TempDir::new().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    checkpoint(folder.path());
    checkpoint(&inside);
    #[cfg(unix)]
    std::os::unix::fs::symlink("../model-1.safetensors", inside.join("link.safetensors")).unwrap();
    for file in ["../model-1.safetensors", "/etc/passwd", "link.safetensors"] {
        let path = index(&inside, &format!(r#""c.weight":"model-2.safetensors","x.weight":"{file}""#));
        let info = inspect(&path).unwrap();
        let finding = info.findings.iter().find(|finding| finding.code == "shards.unsafe").unwrap();
        assert_eq!(finding.severity, Severity::DANGER);
        assert_eq!(support::names(&finding.subjects), ["x.weight"]);
        assert_eq!(numbers(&path, "c.weight"), [4.5, 5.5]);
    }
}

/// Hugging Face's cache: links in a folder of one version, the files under their hashes.
#[cfg(unix)]
#[test]
fn an_index_that_is_a_link_has_its_shards_where_it_leads() {
    let folder = TempDir::new().unwrap();
    let (blobs, version) = (folder.path().join("blobs"), folder.path().join("snapshots/main"));
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(&version).unwrap();
    checkpoint(&blobs);
    for name in ["model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"] {
        std::os::unix::fs::symlink(Path::new("../../blobs").join(name), version.join(name)).unwrap();
    }
    let path = version.join("model.safetensors.index.json");
    assert!(inspect(&path).unwrap().findings.is_empty());
    assert_eq!(numbers(&path, "c.weight"), [4.5, 5.5]);
}

#[test]
fn an_index_that_lies_is_corrupt() {
    let folder = TempDir::new().unwrap();
    checkpoint(folder.path());
    for map in [
        "",
        r#""a.weight":7"#,
        r#""a.weight":"none.safetensors""#,
        r#""a.weight":"model.safetensors.index.json""#,
    ] {
        let error = inspect(&index(folder.path(), map)).unwrap_err();
        assert!(error.kind != ErrorKind::INTERNAL && !error.message.is_empty(), "{map}: {error:?}");
    }
    let backend = backend();
    let probe = |head: &[u8], name: &str| {
        backend.probe(head.into(), name.into()).into_result().unwrap().into_option()
    };
    let head = br#" {"metadata": {}, "weight_map": {"a": "b"}}"#;
    assert_eq!(probe(head, "Model.safetensors.index.json").map(String::from).as_deref(), Some("sharded"));
    assert!(probe(head, "config.json").is_none());
    assert!(probe(br#"{"index": []}"#, "search.index.json").is_none());
}

/// What is claimed of a packed weight must not cost memory that the file does not have.
#[test]
fn packed_weights_that_claim_too_much_are_corrupt_or_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("liar.safetensors");
    let state = |shape: &str| {
        format!(r#"{{"quant_type":"nf4","blocksize":64,"dtype":"float16","shape":{shape}}}"#).into_bytes()
    };
    for shape in ["[1099511627776,1099511627776]", "[-1,4]", "[]", "[4]", "[0,0]", "[2,64]"] {
        let json = state(shape);
        let tensors = [
            ("a.weight", "U8", &[32, 1][..], vec![0; 32]),
            ("a.weight.absmax", "F32", &[1][..], floats(&[1.0])),
            ("a.weight.quant_state.bitsandbytes__nf4", "U8", &[json.len() as i64][..], json.clone()),
        ];
        std::fs::write(&path, safetensors(&tensors)).unwrap();
        let error = inspect(&path).map(|info| info.precision).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CORRUPT_FILE, "{shape}");
    }
    // Shapes that fit together in no layout: plain tensors.
    let words = |count: usize| vec![0; count * 4];
    let tensors = [
        ("a.qweight", "I32", &[2, 3][..], words(6)),
        ("a.qzeros", "I32", &[1, 1][..], words(1)),
        ("a.scales", "F32", &[1, 8][..], floats(&[1.0; 8])),
        ("b_blocks", "U8", &[2, 0][..], Vec::new()),
        ("b_scales", "U8", &[2][..], vec![0; 2]),
        ("c.weight_packed", "I32", &[1, 1][..], words(1)),
        ("c.weight_scale", "F32", &[1, 1][..], floats(&[1.0])),
        (
            "c.weight_shape",
            "I64",
            &[2][..],
            [i64::MAX, i64::MAX].iter().flat_map(|size| size.to_le_bytes()).collect(),
        ),
    ];
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    let info = inspect(&path).unwrap();
    assert_eq!(info.scheme, "");
    assert!(info.tensors.iter().all(|tensor| tensor.quantization == RNone));
}

#[test]
fn parts_are_told_from_parameters_by_their_weight_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("plain.safetensors");
    let tensors = [("a.scales", "F32", &[1][..], floats(&[1.0])), ("weight", "I8", &[2][..], vec![1, 2])];
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    let roles: HashMap<String, TensorRole> =
        inspect(&path).unwrap().tensors.iter().map(|tensor| (tensor.name.to_string(), tensor.role)).collect();
    assert!(roles.values().all(|role| *role == TensorRole::PARAMETER), "{roles:?}");
}

/// What no scale and zero point express: FP4 of bitsandbytes, and NF4 in blocks that do not end with the rows. Expected
/// from NumPy: `table[codes] * np.repeat(absmax, 4)[:6]` in float32, for the codes 1, 2, 3, 11, 4, 13.
#[test]
fn codes_of_a_table_have_their_real_values_beside_them() {
    const FP4: [f32; 16] = [
        0.0,
        0.005_208_333_3,
        0.666_666_7,
        1.0,
        0.333_333_33,
        0.5,
        0.166_666_67,
        0.25,
        0.0,
        -0.005_208_333_3,
        -0.666_666_7,
        -1.0,
        -0.333_333_33,
        -0.5,
        -0.166_666_67,
        -0.25,
    ];
    const OF_FP4: [f32; 6] = [0.010_416_667, 1.333_333_4, 2.0, -2.0, 0.166_666_67, -0.25];
    const OF_NF4: [f32; 6] =
        [-1.392_385_6, -1.050_146_1, -0.789_835, 0.675_830_5, -0.142_220_69, 0.281_308_5];
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("book.safetensors");
    for (kind, table, expected) in [("fp4", Some(FP4), OF_FP4), ("nf4", None, OF_NF4)] {
        let json = format!(r#"{{"quant_type":"{kind}","blocksize":4,"dtype":"float16","shape":[2,3]}}"#);
        let json = json.into_bytes();
        let state = format!("a.weight.quant_state.bitsandbytes__{kind}");
        let mut tensors = vec![
            ("a.weight", "U8", &[3, 1][..], vec![0x12, 0x3b, 0x4d]),
            ("a.weight.absmax", "F32", &[2][..], floats(&[2.0, 0.5])),
            (state.as_str(), "U8", &[0][..], json.clone()),
        ];
        let length = [json.len() as i64];
        tensors[2].2 = &length;
        tensors.extend(table.map(|table| ("a.weight.quant_map", "F32", &[16][..], floats(&table))));
        std::fs::write(&path, safetensors(&tensors)).unwrap();
        let info = inspect(&path).unwrap();
        let weight = tensor(&info, "a.weight");
        assert_eq!((weight.type_name.as_str(), weight.dtype, weight.bytes), (kind, DType::UINT4, 3));
        assert_eq!((weight.shape.as_slice(), &weight.quantization), (&[2, 3][..], &RNone));
        assert!(
            info.findings.iter().all(|finding| finding.code != "weights.no-scales"),
            "{:?}",
            info.findings
        );
        let model = open(&backend(), &path).unwrap();
        assert_eq!(read_tensor(&model, "a.weight").unwrap().bytes, [0x21, 0xb3, 0xd4]);
        let real = read_real(&model, "a.weight").unwrap();
        assert_eq!((real.dtype, real.shape.as_slice()), (Some(DType::FLOAT32), &[2, 3][..]));
        assert_eq!(real.floats(), expected, "{kind}");
        assert_eq!(read_real(&model, "a.weight.absmax").unwrap_err().kind, ErrorKind::UNSUPPORTED_OP);
    }
}
