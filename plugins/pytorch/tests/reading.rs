//! What the reader finds in the sample models and in `tests/data`, against values that PyTorch gave: those of
//! `tests/data/make.py`, which prints them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use qp_abi::sdk::{
    AttributeValue, DType, ErrorKind, ModelInfo, RNone, RSome, Severity, TensorInfo, TensorRole,
};
use std::path::{Path, PathBuf};
use support::{Received, backend, inspect, open, read_tensor, sample};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn tensor<'a>(info: &'a ModelInfo, name: &str) -> &'a TensorInfo {
    info.tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("no tensor {name}"))
}

fn read(path: &Path, name: &str) -> Received {
    read_tensor(&open(&backend(), path).unwrap(), name).unwrap()
}

fn sum(received: &Received) -> f64 {
    received.floats().iter().map(|&number| f64::from(number)).sum()
}

fn scale_of(info: &ModelInfo, value: &str) -> (f64, f64) {
    let value =
        info.values.iter().find(|found| found.name == value).unwrap_or_else(|| panic!("no value {value}"));
    let parameters = value.quantization.as_ref().into_option().unwrap();
    (parameters.scales[0], parameters.zero_points[0])
}

#[test]
fn a_traced_float_model_is_described() {
    let info = inspect(&sample("resnet8_traced.pt")).unwrap();
    assert_eq!(
        (info.format.as_str(), info.precision.as_str(), info.scheme.as_str()),
        ("torchscript", "float32", "")
    );
    let layer = info.layers.iter().find(|layer| layer.path == "layer1.conv1").unwrap();
    assert_eq!((layer.op_type.as_str(), layer.domain.as_str()), ("Conv2d", "torch.nn.modules.conv"));
    assert_eq!(support::names(&layer.tensors), ["layer1.conv1.weight", "layer1.conv1.bias"]);
    let parameters = info.tensors.iter().filter(|tensor| tensor.role == TensorRole::PARAMETER);
    assert_eq!(parameters.map(|tensor| tensor.shape.iter().product::<i64>()).sum::<i64>(), 77_706);
    let weight = read(&sample("resnet8_traced.pt"), "stem.weight");
    assert!((sum(&weight) - -8.621128803293686).abs() < 1e-12);
    assert!(matches!(info.run_obstacle, RNone));
    assert!(info.findings.is_empty());
}

#[test]
fn an_int8_model_is_described_with_all_its_scales() {
    let info = inspect(&sample("resnet8_int8.pt")).unwrap();
    assert_eq!((info.precision.as_str(), info.scheme.as_str()), ("int8", "FX"));
    let parameters = tensor(&info, "stem.weight").quantization.as_ref().into_option().unwrap();
    assert_eq!(parameters.dtype, DType::INT8);
    assert_eq!((parameters.axis, parameters.scale_count), (RSome(0), 16));
    assert_eq!(parameters.scales[..2], [0.012168709188699722, 0.014702733606100082]);
    let codes = read(&sample("resnet8_int8.pt"), "stem.weight");
    assert_eq!(codes.bytes.iter().map(|&code| i64::from(code.cast_signed())).sum::<i64>(), -1098);
    assert_eq!(codes.quantization.as_ref(), Some(parameters));
    assert!((sum(&read(&sample("resnet8_int8.pt"), "stem.bias")) - 2.440511353313923).abs() < 1e-12);
    assert_eq!(scale_of(&info, "layer3.conv2"), (0.10833645612001419, 57.0));
    // The residual additions have scales of their own, and two inputs.
    let add = info.layers.iter().find(|layer| layer.path == "add_relu_1").unwrap();
    assert_eq!(support::names(&add.inputs), ["layer2.conv2", "layer2.shortcut"]);
    assert!(scale_of(&info, "add_relu_1").0 > 0.0);
    let stem = info.layers.iter().find(|layer| layer.path == "stem").unwrap();
    assert_eq!((stem.op_type.as_str(), stem.quantization.as_str()), ("ConvReLU2d", "static"));
    let padding = stem.attributes.iter().find(|attribute| attribute.name == "padding").unwrap();
    assert_eq!(padding.value, AttributeValue::Ints(vec![1, 1].into()));
}

#[test]
fn the_input_of_a_trace_has_the_type_and_shape_of_its_example() {
    let info = inspect(&sample("resnet8_int8.pt")).unwrap();
    assert_eq!((info.inputs[0].name.as_str(), info.inputs[0].dtype), ("image", DType::FLOAT32));
    let shape = info.inputs[0].shape.as_ref().into_option().unwrap();
    assert_eq!(shape.iter().map(|dimension| dimension.size).collect::<Vec<_>>(), [-1, 32, 32, 3]);
}

/// The order of the calls is that of `forward` in the file.
#[test]
fn an_eager_graph_module_is_described_in_the_order_of_its_computation() {
    let info = inspect(&sample("resnet8.pt")).unwrap();
    assert_eq!((info.format.as_str(), info.precision.as_str()), ("pickle", "float32"));
    assert!(info.run_obstacle.is_none(), "{:?}", info.run_obstacle);
    let computed: Vec<&str> = info
        .layers
        .iter()
        .filter(|layer| !layer.outputs.is_empty())
        .map(|layer| layer.path.as_str())
        .collect();
    assert_eq!(computed[..4], ["permute", "mul", "stem", "relu"]);
    let add = info.layers.iter().find(|layer| layer.path == "add_1").unwrap();
    assert_eq!(support::names(&add.inputs), ["layer2.conv2", "layer2.shortcut"]);
    assert_eq!((add.domain.as_str(), support::names(&add.outputs)), ("aten", vec!["add_1"]));
    let stem = info.layers.iter().find(|layer| layer.path == "stem").unwrap();
    assert_eq!(
        (stem.op_type.as_str(), support::names(&stem.tensors)),
        ("Conv2d", vec!["stem.weight", "stem.bias"])
    );
    assert!(info.findings.iter().all(|finding| finding.severity < Severity::DANGER), "{:?}", info.findings);
    assert!(info.findings.iter().any(|finding| finding.code == "pickle.embedded-source"));
}

#[test]
fn views_are_delivered_dense_and_in_row_major_order() {
    for file in ["tensors.pt", "tensors_legacy.pt"] {
        let path = data(file);
        let plain: Vec<f32> = (0..24_u8).map(f32::from).collect();
        assert_eq!(read(&path, "plain").floats(), plain);
        assert_eq!(read(&path, "channels_last").floats(), plain);
        assert_eq!(read(&path, "shared").floats(), plain[12..]);
        assert_eq!(read(&path, "transposed").floats()[..5], [0.0, 6.0, 12.0, 18.0, 1.0]);
        assert_eq!(read(&path, "expanded").floats(), [1.5, -2.0, 1.5, -2.0, 1.5, -2.0]);
        assert_eq!(read(&path, "sliced").bytes, [2, 0, 5, 0, 8, 0]);
        assert_eq!(read(&path, "scalar").bytes, 7_i64.to_le_bytes());
        assert!(read(&path, "empty").bytes.is_empty());
        assert_eq!(read(&path, "bool").bytes, [1, 0, 1]);
        assert_eq!(read(&path, "bfloat16").bytes, [0x80, 0x3f, 0x00, 0xbf]);
        let complex: Vec<u8> =
            [1.0_f32, 2.0, -0.0, -3.0].iter().flat_map(|part| part.to_le_bytes()).collect();
        assert_eq!(read(&path, "complex").bytes, complex);
        assert_eq!(read(&path, "quint8").bytes, [3, 5, 7, 39]);
        assert_eq!(read(&path, "qint8").bytes, [2, 254, 3, 2]);
        let info = inspect(&path).unwrap();
        assert_eq!(tensor(&info, "shared").alias_of, "plain");
        assert_eq!(tensor(&info, "qint32").dtype, DType::INT32);
    }
    assert_eq!(read(&data("tensors.pt"), "float8").bytes, [0x38, 0xc0]);
    let model = open(&backend(), &data("tensors.pt")).unwrap();
    assert_eq!(read_tensor(&model, "meta").unwrap_err().kind, ErrorKind::UNSUPPORTED_OP);
    assert_eq!(read_tensor(&model, "none").unwrap_err().kind, ErrorKind::NOT_FOUND);
}

#[test]
fn a_dynamically_quantized_model_is_described() {
    let info = inspect(&data("dynamic.pt")).unwrap();
    assert_eq!((info.precision.as_str(), info.scheme.as_str()), ("dynamic-int8", "dynamic"));
    assert_eq!(
        support::names(&info.outputs.iter().map(|output| output.name.clone()).collect()),
        ["sum", "codes"]
    );
    assert_eq!(info.inputs.len(), 2);
}

#[test]
fn an_exported_program_is_described() {
    let path = data("exported.pt2");
    let info = inspect(&path).unwrap();
    assert_eq!(
        (info.format.as_str(), info.precision.as_str(), info.scheme.as_str()),
        ("pt2", "int8", "PT2E")
    );
    assert!(info.producer.starts_with("PyTorch 2.13.0"), "{}", info.producer);
    let shape = info.inputs[0].shape.as_ref().into_option().unwrap();
    assert_eq!((info.inputs[0].name.as_str(), shape[0].size, shape[1].size), ("x", -1, 3));
    assert!(!shape[0].symbol.is_empty());
    let paths: Vec<&str> = info.layers.iter().map(|layer| layer.path.as_str()).collect();
    let expected =
        ["quantize_per_tensor", "dequantize_per_tensor", "dequantize_per_channel", "linear", "act"];
    assert_eq!(paths, expected);
    assert_eq!(info.layers[4].op_type, "ReLU");
    assert_eq!(scale_of(&info, "quantize_per_tensor"), (0.125, 7.0));
    let codes = tensor(&info, "codes");
    assert_eq!((codes.layer.as_str(), codes.role), ("linear", TensorRole::PARAMETER));
    let parameters = codes.quantization.as_ref().into_option().unwrap();
    assert_eq!((parameters.axis, parameters.scales.as_slice()), (RSome(0), &[0.5, 0.25][..]));
    assert_eq!(
        (parameters.scale_name.as_str(), tensor(&info, "scales").role),
        ("scales", TensorRole::QUANTIZATION)
    );
    assert_eq!(read(&path, "codes").bytes, [1, 254, 3, 4, 5, 250]);
    assert!(info.run_obstacle.is_none());
}

#[test]
fn formats_are_told_apart_by_content_and_then_by_name() {
    let backend = backend();
    let probe = |head: &[u8], name: &str| {
        backend
            .probe(head.into(), name.into())
            .into_result()
            .unwrap()
            .into_option()
            .map(|name| name.to_string())
    };
    let head = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes[..bytes.len().min(4096)].to_vec()
    };
    assert_eq!(probe(&head(sample("resnet8.pt")), "a.pt").as_deref(), Some("pickle"));
    assert_eq!(probe(&head(sample("resnet8_traced.pt")), "a.pt").as_deref(), Some("torchscript"));
    assert_eq!(probe(&head(data("tensors_legacy.pt")), "whatever").as_deref(), Some("pickle-legacy"));
    assert_eq!(probe(&head(data("exported.pt2")), "a.pt").as_deref(), Some("pt2"));
    assert_eq!(probe(&head(sample("digits.npz")), "digits.npz"), None);
    assert_eq!(probe(&head(sample("resnet8.onnx")), "resnet8.onnx"), None);
    assert_eq!(probe(b"\x80\x04\x95abc", "a.bin").as_deref(), Some("pickle"));
    assert_eq!(probe(b"\x80\x04\x95abc", "a.txt"), None);
    assert_eq!(probe(b"MZ......", "a.bin"), None);
    assert_eq!(probe(b"", "a.pt"), None);
}

#[test]
fn what_is_no_model_is_refused_with_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    assert_eq!(inspect(&folder.path().join("none.pt")).unwrap_err().kind, ErrorKind::NOT_FOUND);
    assert_eq!(inspect(folder.path()).unwrap_err().kind, ErrorKind::UNSUPPORTED_FORMAT);
    assert_eq!(inspect(&write("empty.pt", b"")).unwrap_err().kind, ErrorKind::UNSUPPORTED_FORMAT);
    assert_eq!(inspect(&sample("digits.npz")).unwrap_err().kind, ErrorKind::UNSUPPORTED_FORMAT);
}

/// The format of PyTorch before 0.1.10, which `torch.load` still reads: `storages` and `tensors` have a pickle for each
/// tensor, and `pickle` is the one of the whole.
#[test]
fn every_pickle_of_a_tar_archive_is_judged() {
    let evil = b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R.".as_slice();
    let none = b"\x80\x02K\x00.".as_slice();
    let storage = b"\x80\x02K\x01X\x03\x00\x00\x00cpuctorch\nFloatStorage\n\x87.".as_slice();
    let one = [b"\x80\x02K\x01.", storage, &2_u64.to_le_bytes(), &[0; 8]].concat();
    let verdict = |storages: &[u8], tensors: &[u8], pickle: &[u8]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in [("storages", storages), ("tensors", tensors), ("pickle", pickle)] {
            // The oldest headers have no mark: the checksum alone says what they are.
            let mut header = tar::Header::new_old();
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, content).unwrap();
        }
        let info = qp_plugin_pytorch::describe(builder.into_inner().unwrap(), "old.pth").unwrap();
        assert_eq!(info.format, "pickle-tar");
        info.extra.iter().find(|pair| pair.0 == "verdict").unwrap().1.to_string()
    };
    assert_eq!(verdict(&[&one, none].concat(), none, b"\x80\x02}."), "safe");
    assert_eq!(verdict(&[&one, evil].concat(), none, b"\x80\x02}."), "dangerous");
    assert_eq!(verdict(evil, none, none), "dangerous");
    assert_eq!(verdict(none, evil, none), "dangerous");
    assert_eq!(verdict(none, none, evil), "dangerous");
}

/// `subclass.pt` of tests/data/make.py: what torchao was given.
#[test]
fn codes_of_a_tensor_subclass_have_the_scales_beside_them() {
    let info = inspect(&data("subclass.pt")).unwrap();
    let rows = tensor(&info, "fc.weight.qdata").quantization.as_ref().into_option().unwrap();
    assert_eq!((&rows.scales[..], rows.axis), (&[0.5, 0.25, 2.0, 1.0][..], RSome(0)));
    assert_eq!((&rows.zero_points[..], rows.block_size), (&[1.0, 0.0, -1.0, 2.0][..], RNone));
    let blocks = tensor(&info, "blocks.weight.qdata").quantization.as_ref().into_option().unwrap();
    let quarters: Vec<f64> = (1..9).map(|index| f64::from(index) / 4.0).collect();
    assert_eq!((&blocks.scales[..], blocks.axis, blocks.block_size), (&quarters[..], RSome(1), RSome(2)));
    assert!(blocks.zero_points.is_empty());
    let layer = info.layers.iter().find(|layer| layer.path == "fc").unwrap();
    assert_eq!(layer.quantization, "torchao");
}

/// tests/data/make_dtensor.py.
#[test]
fn the_local_part_of_a_distributed_tensor_is_listed() {
    let info = inspect(&data("dtensor.pt")).unwrap();
    let whole: Vec<f32> = (0_u8..8).map(f32::from).collect();
    assert_eq!(read(&data("dtensor.pt"), "fc.weight._local_tensor").floats(), whole);
    assert!(
        info.findings.iter().any(|finding| finding.message.ends_with("those that it is made of are listed"))
    );
    assert!(info.run_obstacle.into_option().unwrap().help.contains("\"_local_tensor\", tensor)"));
}

/// The entries that `torch._inductor.aoti_compile_and_package` of PyTorch 2.13 writes, the code itself cut short.
#[test]
fn a_compiled_package_is_recognised_and_its_code_is_never_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pt2");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let settings = r#"{"AOTI_DEVICE_KEY": "cpu", "AOTI_PLATFORM": "linux", "AOTI_MACHINE": "x86_64", "AOTI_CPU_ISA": "AVX512 AVX512_VNNI", "AOTI_COMPUTE_CAPABILITY": ""}"#;
    for (name, content) in [
        ("aoti/data/aotinductor/model/c2gse.wrapper.cpp", "int main() {}"),
        ("aoti/data/aotinductor/model/c2gse.wrapper_metadata.json", settings),
        ("aoti/data/aotinductor/model/c2gse.wrapper.so", "\x7fELF"),
        ("aoti/archive_format", "pt2"),
        ("aoti/archive_version", "0"),
    ] {
        archive.start_file(name, stored).unwrap();
        std::io::Write::write_all(&mut archive, content.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    let info = inspect(&path).unwrap();
    assert_eq!((info.format.as_str(), info.producer.as_str()), ("pt2", "AOTInductor"));
    assert_eq!((info.layers[0].path.as_str(), info.layers[0].op_type.as_str()), ("model", "AOTInductor"));
    let isa = info.metadata.iter().find(|pair| pair.0 == "model: cpu isa").unwrap();
    assert_eq!(isa.1, "AVX512 AVX512_VNNI");
    assert_eq!(info.findings[0].code, "pt2.machine-code");
    let obstacle = info.run_obstacle.into_option().unwrap();
    assert_eq!(obstacle.kind, ErrorKind::UNSUPPORTED_OP);
    assert!(obstacle.help.contains("aoti_load_package"));
}

/// `{"neg": x.conj().imag, "conj": x.conj(), "both": -x.conj()'s bits}` of x = 1 + 2j, 3 - 4j: the storage has 1, 2, 3, -4, and the
/// bits are the seventh argument of `_rebuild_tensor_v2`, as PyTorch 2.13 writes them.
#[test]
fn conjugated_and_negated_views_are_read_as_pytorch_shows_them() {
    let view = |class: &str, key: &[u8], count: u8, place: u8, stride: u8, bits: &[u8]| {
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n".as_slice(),
            class.as_bytes(),
            b"\nX\x01\x00\x00\x00",
            key,
            b"X\x03\x00\x00\x00cpuK",
            &[count],
            b"tQK",
            &[place],
            b"K\x02\x85K",
            &[stride],
            b"\x85\x89ccollections\nOrderedDict\n)R",
            bits,
            b"tR",
        ]
        .concat()
    };
    let name = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let bit = |text: &str| [name(text), b"\x88s".to_vec()].concat();
    let neg = [b"}".to_vec(), bit("neg")].concat();
    let conj = [b"}".to_vec(), bit("conj")].concat();
    let tagged =
        [b"ctorch.jit._pickle\nrestore_type_tag\n".as_slice(), &neg, &name("Dict[str, bool]"), b"\x86R"]
            .concat();
    let both = [b"}".to_vec(), bit("neg"), bit("conj")].concat();
    let complex = |bits: &[u8]| view("ComplexFloatStorage", b"0", 2, 0, 1, bits);
    let float = |bits: &[u8]| view("FloatStorage", b"1", 4, 1, 2, bits);
    let whole = |bits: &[u8]| view("ShortStorage", b"2", 2, 0, 1, bits);
    let mut pickle = b"\x80\x02}".to_vec();
    for (key, tensor) in [
        ("a.neg", float(&neg)),
        ("a.tagged", float(&tagged)),
        ("a.plain", float(b"}")),
        ("a.conj", complex(&conj)),
        ("a.both", complex(&both)),
        ("a.whole", whole(&neg)),
    ] {
        pickle.extend([name(key), tensor, b"s".to_vec()].concat());
    }
    pickle.push(b'.');
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bits.pt");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let numbers: Vec<u8> = [1_f32, 2.0, 3.0, -4.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let whole: Vec<u8> = [256_i16, -3].iter().flat_map(|number| number.to_le_bytes()).collect();
    for (name, content) in
        [("m/data.pkl", &pickle), ("m/data/0", &numbers), ("m/data/1", &numbers), ("m/data/2", &whole)]
    {
        archive.start_file(name, stored).unwrap();
        std::io::Write::write_all(&mut archive, content).unwrap();
    }
    archive.finish().unwrap();
    let numbers = |name: &str| -> Vec<f32> {
        read(&path, name).bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    };
    assert_eq!(numbers("a.plain"), [2.0, -4.0]);
    assert_eq!(numbers("a.neg"), [-2.0, 4.0]);
    assert_eq!(numbers("a.tagged"), [-2.0, 4.0]);
    assert_eq!(numbers("a.conj"), [1.0, -2.0, 3.0, 4.0]);
    assert_eq!(numbers("a.both"), [-1.0, 2.0, -3.0, -4.0]);
    assert_eq!(read(&path, "a.whole").bytes, [(-256_i16).to_le_bytes(), 3_i16.to_le_bytes()].concat());
    let info = inspect(&path).unwrap();
    assert_eq!(info.extra.iter().find(|pair| pair.0 == "verdict").unwrap().1, "safe");
}

/// A tar archive as PyTorch 0.1.9 wrote it: `fc.weight` is the transposed view of a storage of 0 to 5, `fc.bias` one of the
/// storage that is elements 4 and 5 of it.
fn old_archive(order: fn(i64) -> [u8; 8], pickle: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let float = |number: f32| {
        let mut bytes = number.to_le_bytes();
        if order(1)[0] == 0 {
            bytes.reverse();
        }
        bytes
    };
    let numbers = |all: &[i64]| all.iter().flat_map(|number| order(*number)).collect::<Vec<u8>>();
    let row = |head: &[u8], class: &str| [head, b"ctorch\n", class.as_bytes(), b"\n\x87."].concat();
    let storages = [
        b"\x80\x02K\x01.".to_vec(),
        row(b"\x80\x02KdX\x03\x00\x00\x00cpu", "FloatStorage"),
        numbers(&[6]),
        (0_u8..6).flat_map(|number| float(f32::from(number))).collect(),
        b"\x80\x02](KeKdK\x04K\x02t".to_vec(),
        b"a.".to_vec(),
    ];
    let tensors = [
        b"\x80\x02K\x02.".to_vec(),
        row(b"\x80\x02K\xc8Kd", "FloatTensor"),
        numbers(&[2, 3, 2, 1, 3, 0]),
        row(b"\x80\x02K\xc9Ke", "FloatTensor"),
        numbers(&[1, 2, 1, 0]),
    ];
    let little: &[u8] = if order(1)[0] == 1 { b"\x88" } else { b"\x89" };
    let system = [b"\x80\x02}X\x0d\x00\x00\x00little_endian", little, b"s."].concat();
    vec![
        ("sys_info", system),
        ("pickle", pickle.to_vec()),
        ("tensors", tensors.concat()),
        ("storages", storages.concat()),
    ]
}

const OLD_STATE: &[u8] = b"\x80\x02}(X\x09\x00\x00\x00fc.weightX\x03\x00\x00\x00200QX\x07\x00\x00\x00fc.biasX\x03\x00\x00\x00201Qu.";

fn old_file(folder: &Path, members: &[(&str, Vec<u8>)]) -> PathBuf {
    let path = folder.join("old.pth.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
    for (name, content) in members {
        let mut header = tar::Header::new_old();
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    builder.finish().unwrap();
    path
}

fn verdict(info: &ModelInfo) -> &str {
    &info.extra.iter().find(|pair| pair.0 == "verdict").unwrap().1
}

#[test]
fn the_tensors_of_a_tar_archive_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for order in [i64::to_le_bytes, i64::to_be_bytes] {
        let path = old_file(folder.path(), &old_archive(order, OLD_STATE));
        let info = inspect(&path).unwrap();
        assert_eq!((info.format.as_str(), info.layers[0].path.as_str()), ("pickle-tar", "fc"));
        assert_eq!(tensor(&info, "fc.weight").shape.as_slice(), [3, 2]);
        assert_eq!(read(&path, "fc.weight").floats(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(read(&path, "fc.bias").floats(), [4.0, 5.0]);
        let is_little = order(1)[0] == 1;
        assert_eq!(verdict(&info), if is_little { "safe" } else { "unknown" });
        // `weights_only=True` takes no tar archive.
        assert!(info.run_obstacle.into_option().unwrap().help.contains("weights_only=False"));
    }
}

#[test]
fn an_evil_tar_archive_is_described_and_no_hint_loads_it() {
    let folder = tempfile::tempdir().unwrap();
    let evil = [&OLD_STATE[..OLD_STATE.len() - 1], b"0cos\nsystem\nX\x01\x00\x00\x00x\x85R."].concat();
    let info = inspect(&old_file(folder.path(), &old_archive(i64::to_le_bytes, &evil))).unwrap();
    assert_eq!(verdict(&info), "dangerous");
    let obstacle = info.run_obstacle.into_option().unwrap();
    assert_eq!(obstacle.kind, ErrorKind::UNSAFE_FILE);
    assert!(!obstacle.help.contains("torch.load"));
}

#[test]
fn a_tar_archive_that_lies_is_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let good = old_archive(i64::to_le_bytes, OLD_STATE);
    let change = |member: usize, at: usize, bytes: &[u8]| {
        let mut members = good.clone();
        members[member].1[at..at + bytes.len()].copy_from_slice(bytes);
        members
    };
    let find = |member: usize, bytes: &[u8]| {
        good[member].1.windows(bytes.len()).position(|window| window == bytes).unwrap()
    };
    let count = find(3, &6_i64.to_le_bytes());
    let axes = find(2, &2_i64.to_le_bytes());
    let mut cut = good.clone();
    cut[3].1.truncate(count + 12);
    let mut missing = good.clone();
    missing.remove(2);
    for (members, what) in [
        (change(3, count, &700_i64.to_le_bytes()), "storage 100 extends past the end of"),
        (change(3, count, &i64::MAX.to_le_bytes()), "storage 100 extends past the end of"),
        (change(3, count, &(-1_i64).to_le_bytes()), "storage 100 extends past the end of"),
        (cut, "storage 100 extends past the end of"),
        (missing, "no whole member `tensors`"),
        (change(2, axes, &i32::MAX.to_le_bytes()), "tensor 200 has an impossible shape"),
        (change(2, axes, &(-1_i32).to_le_bytes()), "tensor 200 has an impossible shape"),
        (change(2, axes + 8, &i64::MAX.to_le_bytes()), "`fc.weight`"),
        (change(2, axes + 8, &(-3_i64).to_le_bytes()), "`fc.weight`"),
        (change(2, axes + 40, &1_i64.to_le_bytes()), "`fc.weight` lies outside of its storage"),
        (change(2, 3, b"\x03"), ""),
    ] {
        let error = inspect(&old_file(folder.path(), &members)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CORRUPT_FILE, "{what}: {error:?}");
        assert!(format!("{error:?}").contains(what), "{what}: {error:?}");
    }
}
