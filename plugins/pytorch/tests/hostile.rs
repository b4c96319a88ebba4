//! Files that mean harm: each gives a verdict or a clean error, and nothing in it ever happens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use proptest::prelude::*;
use qp_abi::sdk::{BackendError, ErrorKind, ModelInfo, Severity};
use std::io::Write;
use std::path::Path;
use support::{backend, inspect, open, read_tensor};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

fn archive(entries: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = ZipWriter::new(&mut bytes);
    for (name, content) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap();
    bytes.into_inner()
}

fn saved(pickle: &[u8]) -> Vec<u8> {
    archive(&[("m/data.pkl", pickle), ("m/data/0", &[0; 16]), ("m/version", b"3\n")], stored())
}

/// Inspects, opens, and reads all tensors.
fn examine(bytes: &[u8]) -> Result<ModelInfo, BackendError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.pt");
    std::fs::write(&path, bytes).unwrap();
    examine_file(&path)
}

fn examine_file(path: &Path) -> Result<ModelInfo, BackendError> {
    let info = inspect(path)?;
    let model = open(&backend(), path)?;
    for tensor in info.tensors.iter().take(64) {
        let _ = read_tensor(&model, &tensor.name);
    }
    Ok(info)
}

fn assert_dangerous(pickle: &[u8], subject: &str) {
    for bytes in [saved(pickle), pickle.to_vec()] {
        let info = examine(&bytes).unwrap_or_else(|error| panic!("{subject}: {error:?}"));
        let dangers: Vec<_> =
            info.findings.iter().filter(|finding| finding.severity == Severity::DANGER).collect();
        let is_named =
            dangers.iter().flat_map(|finding| &finding.subjects).any(|found| found.contains(subject));
        assert!(is_named || (subject.is_empty() && !dangers.is_empty()), "{subject}: {:?}", info.findings);
        assert_eq!(info.run_obstacle.into_option().unwrap().kind, ErrorKind::UNSAFE_FILE);
    }
}

/// Asserts that readers of an archive would see different things, and that the verdict says so.
fn assert_ambiguous(archive: &[u8], what: &str) {
    let info = examine(archive).unwrap();
    let named: Vec<_> = info.findings.iter().filter(|finding| finding.code == "archive.ambiguous").collect();
    assert!(named.iter().any(|finding| format!("{finding:?}").contains(what)), "{what}: {:?}", info.findings);
    assert_eq!(info.extra.iter().find(|pair| pair.0 == "verdict").unwrap().1, "dangerous");
    let refusal = info.run_obstacle.into_option().unwrap();
    assert_eq!((refusal.kind, refusal.message.contains('\n')), (ErrorKind::UNSAFE_FILE, false));
}

fn assert_error(bytes: &[u8], kind: ErrorKind) {
    let error = examine(bytes).map(|info| info.format).unwrap_err();
    assert_eq!(error.kind, kind, "{error:?}");
    assert!(!error.message.is_empty() && error.kind != ErrorKind::INTERNAL, "{error:?}");
}

#[test]
fn no_way_to_call_a_command_goes_unseen_and_none_is_taken() {
    let folder = TempDir::new().unwrap();
    let marker = folder.path().join("marker");
    let command = format!("touch {}", marker.display());
    let short = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
    let command = short(&command);
    let join = |parts: &[&[u8]]| parts.concat();
    // GLOBAL and REDUCE
    assert_dangerous(&join(&[b"\x80\x04cposix\nsystem\n", &command, b"\x85R."]), "posix.system");
    assert_dangerous(&join(&[b"\x80\x02cos\nsystem\n(", &command, b"tR."]), "os.system");
    // STACK_GLOBAL
    assert_dangerous(
        &join(&[b"\x80\x04", &short("nt"), &short("system"), b"\x93", &command, b"\x85R."]),
        "nt.system",
    );
    // a path of attributes through a module of PyTorch's
    let names = [short("torch.serialization"), short("os.system")].concat();
    assert_dangerous(
        &join(&[b"\x80\x04", &names, b"\x93", &command, b"\x85R."]),
        "torch.serialization.os.system",
    );
    // INST, OBJ, NEWOBJ, NEWOBJ_EX
    assert_dangerous(&join(&[b"(", &command, b"ios\nsystem\n."]), "os.system");
    assert_dangerous(&join(&[b"(cos\nsystem\n", &command, b"o."]), "os.system");
    assert_dangerous(&join(&[b"\x80\x02csubprocess\nPopen\n", &command, b"\x85\x81."]), "subprocess.Popen");
    assert_dangerous(&join(&[b"\x80\x04csubprocess\nPopen\n", &command, b"\x85}\x92."]), "subprocess.Popen");
    // a chain: getattr of an imported module, called
    let import = join(&[b"c__builtin__\n__import__\n", &short("os"), b"\x85R"]);
    assert_dangerous(
        &join(&[
            b"\x80\x04c__builtin__\ngetattr\n",
            &import,
            &short("system"),
            b"\x86R",
            &command,
            b"\x85R.",
        ]),
        "builtins.getattr",
    );
    // hidden in what is thrown away, in the memo, in a key, in a state
    assert_dangerous(&join(&[b"\x80\x04cposix\nsystem\n", &command, b"\x85R0N."]), "posix.system");
    assert_dangerous(b"\x80\x02cos\nsystem\nq\x000N.", "os.system");
    assert_dangerous(&join(&[b"\x80\x02}cos\nsystem\nNs."]), "os.system");
    assert_dangerous(
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00acos\nsystem\nsb.",
        "os.system",
    );
    // a harmless class turned into a weapon
    assert_dangerous(b"\x80\x02ctorch.nn\nModule\n}X\x01\x00\x00\x00aNsb.", "torch.nn.Module");
    // a call of what was computed
    assert_dangerous(b"\x80\x02ccollections\nOrderedDict\n)R)R.", "");
    assert!(!marker.exists());
}

/// Our limits and readers are not PyTorch's: bytes that a pickle has it load, and that end for us before they do for it,
/// are no proof of anything.
#[test]
fn what_is_loaded_within_and_cannot_be_read_is_not_safe() {
    let loads = |inner: &[u8]| {
        let bytes = [b"B".as_slice(), &(inner.len() as u32).to_le_bytes(), inner].concat();
        let call = [get("torch.storage", "_load_from_bytes"), bytes, b"\x85R".to_vec()].concat();
        [b"\x80\x03".to_vec(), call, b".".to_vec()].concat()
    };
    let verdict = |inner: &[u8]| {
        let info = examine(&saved(&loads(inner))).unwrap();
        info.extra.iter().find(|pair| pair.0 == "verdict").unwrap().1.to_string()
    };
    assert_eq!(verdict(b"\x80\x02N."), "safe");
    assert_eq!(verdict(&saved(b"\x80\x02N.")), "safe");
    // A name that is longer than we read, an opcode that we do not know, an archive that is cut.
    assert_eq!(verdict(&[b"\x80\x02c".as_slice(), &[b'a'; 2000], b"\nb\n."].concat()), "unknown");
    assert_eq!(verdict(b"\x80\x02N\xff."), "unknown");
    let cut = saved(b"\x80\x02N.");
    assert_eq!(verdict(&cut[..cut.len() - 30]), "unknown");
}

#[test]
fn source_within_a_graph_module_is_judged() {
    let graph = |code: &str| {
        let text =
            |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        let head = b"\x80\x02ctorch.fx.graph_module\nreduce_graph_module\n}(".to_vec();
        let body = [text("_code"), text(code), text("_modules"), b"}u".to_vec()].concat();
        [head, body, text("import torch"), b"\x86R.".to_vec()].concat()
    };
    assert_dangerous(&graph("\nimport os\ndef forward(self, x):\n    return x"), "import os");
    assert_dangerous(&graph("\ndef forward(self, x=print(1)):\n    return x"), "def forward");
    assert_dangerous(&graph("\ndef forward(self, x):\n    return x\nprint(1)"), "print(1)");
    // The imports and the code are one text.
    assert_dangerous(&graph(" , os\ndef forward(self, x):\n    return x"), "os");
    let reducer = b"ctorch.fx.graph_module\nreduce_graph_module\n".as_slice();
    // Hidden after a computed text, computed arguments, another's call, and an entry that is set again.
    let hidden =
        [b"\x80\x02".as_slice(), reducer, b"}X\x05\x00\x00\x00_codecbuiltins\nstr\n)Rs\x85R."].concat();
    assert_dangerous(&hidden, "computed");
    assert_dangerous(&[b"\x80\x02".as_slice(), reducer, b"cbuiltins\ntuple\n)RR."].concat(), "computed");
    assert_dangerous(&[b"\x80\x02]".as_slice(), reducer, b"a."].concat(), "computed");
    let twice = b"}q\x00X\x05\x00\x00\x00_codeX\x08\x00\x00\x00print(1)s\x85Rh\x00X\x05\x00\x00\x00_codeX\x00\x00\x00\x00s.";
    assert_dangerous(&[b"\x80\x02".as_slice(), reducer, twice].concat(), "print(1)");
    let info = examine(&saved(&graph("\ndef forward(self, x):\n    return torch.relu(x)"))).unwrap();
    assert!(info.findings.iter().all(|finding| finding.severity < Severity::DANGER), "{:?}", info.findings);
}

#[test]
fn bombs_of_memo_depth_and_length_cost_nothing() {
    // Billion laughs: each level a tuple of ten times the one before.
    let mut laughs = b"\x80\x02]q\x00".to_vec();
    for level in 0..60_u8 {
        laughs.push(b'(');
        (0..10).for_each(|_| laughs.extend([b'h', level]));
        laughs.extend([b't', b'q', level + 1]);
    }
    laughs.push(b'.');
    assert!(examine(&saved(&laughs)).is_ok());
    // Lists within lists, and marks within marks.
    let depth = 200_000;
    let deep = [b"\x80\x02".to_vec(), vec![b']'; depth], vec![b'a'; depth - 1], b".".to_vec()].concat();
    assert!(examine(&saved(&deep)).is_ok());
    assert_error(&saved(&[b"\x80\x02".to_vec(), vec![b'('; depth]].concat()), ErrorKind::CORRUPT_FILE);
    // A list that holds itself.
    assert!(examine(&saved(b"\x80\x02]q\x00h\x00a.")).is_ok());
    // Calls within calls within a tensor's description.
    let mut calls = b"\x80\x02".to_vec();
    (0..50_000).for_each(|_| calls.extend(b"ctorch._utils\n_rebuild_parameter\n("));
    calls.push(b'N');
    (0..50_000).for_each(|_| calls.extend(b"\x89NtR"));
    calls.push(b'.');
    assert_error(&saved(&calls), ErrorKind::CORRUPT_FILE);
    // A text that claims four gigabytes.
    assert_error(&saved(b"\x80\x02X\xff\xff\xff\xffabc."), ErrorKind::CORRUPT_FILE);
    assert_error(&saved(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc."), ErrorKind::CORRUPT_FILE);
}

/// `BINUNICODE`
fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn get(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// `{name: value, …}` with a name for each of `count` values.
fn dictionary(count: usize, value: &[u8]) -> Vec<u8> {
    let entries = (0..count).map(|index| [text(&format!("t{index}")), value.to_vec()].concat());
    [b"}(".to_vec(), entries.collect::<Vec<_>>().concat(), b"u".to_vec()].concat()
}

/// What is in a file once and is meant thousands of times costs what the file costs: each of these would
/// take gigabytes, or hours, if it was copied or walked for each use.
#[test]
fn shared_parts_are_not_paid_for_by_each_use() {
    let storage = [
        b"(".to_vec(),
        text("storage"),
        get("torch", "FloatStorage"),
        text("0"),
        text("cpu"),
        b"K\x04tQ".to_vec(),
    ]
    .concat();
    let rest = [b"\x89".to_vec(), get("collections", "OrderedDict"), b")R".to_vec()].concat();
    let rebuild = |function: &str, arguments: &[&[u8]]| {
        [get("torch._utils", function), b"(".to_vec(), arguments.concat(), b"tR".to_vec()].concat()
    };
    let program = |parts: &[&[u8]]| [b"\x80\x02".to_vec(), parts.concat(), b".".to_vec()].concat();
    // A shape of a hundred thousand sizes, for three thousand tensors.
    let shape = [b"(".to_vec(), b"K\x01".repeat(100_000), b"tq\x010".to_vec()].concat();
    let tensor = rebuild("_rebuild_tensor_v2", &[&storage, b"K\x00h\x01h\x01", &rest]);
    assert_error(&saved(&program(&[&shape, &dictionary(3_000, &tensor)])), ErrorKind::CORRUPT_FILE);
    // A name of a megabyte, for three thousand tensors.
    let scalar = rebuild("_rebuild_tensor_v2", &[&storage, b"K\x00))", &rest]);
    let entries = [b"h\x01".to_vec(), scalar.clone()].concat().repeat(3_000);
    let name = text(&"n".repeat(1 << 20));
    examine(&saved(&program(&[&name, b"q\x010}(", &entries, b"u"]))).unwrap();
    // A class of a megabyte.
    let class = get("torch.nn", &"N".repeat(1 << 20));
    assert_error(&saved(&program(&[&class])), ErrorKind::CORRUPT_FILE);
    // Tensors made of tensors, two of each at each level.
    let wrapper = |inner: &[u8]| {
        let state = [b"}(".to_vec(), text("a"), inner.to_vec(), text("b"), b"h\x02u".to_vec()].concat();
        let call =
            [get("torch._utils", "_rebuild_wrapper_subclass"), get("torchao", "Tensor"), b"(".to_vec()]
                .concat();
        let arguments = [b"N".to_vec(), get("torch", "float32"), b"K\x01\x85t".to_vec()].concat();
        [
            get("torch._tensor", "_rebuild_from_type_v2"),
            b"(".to_vec(),
            call,
            arguments,
            state,
            b"tRq\x02".to_vec(),
        ]
        .concat()
    };
    let nested = (0..14).fold(b"Nq\x02".to_vec(), |inner, _| wrapper(&inner));
    assert_error(&saved(&program(&[&nested, b"0", &dictionary(200, b"h\x02")])), ErrorKind::CORRUPT_FILE);
    let sparse = (0..14).fold(b"Nq\x02".to_vec(), |inner, _| {
        let arguments = [b"N(".to_vec(), inner, b"h\x02h\x02t".to_vec()].concat();
        [rebuild("_rebuild_sparse_tensor", &[&arguments]), b"q\x02".to_vec()].concat()
    });
    assert_error(&saved(&program(&[&sparse, b"0", &dictionary(200, b"h\x02")])), ErrorKind::CORRUPT_FILE);
    // One source of a megabyte, run a thousand times: too much to be judged.
    let graph = [b"}(".to_vec(), text("_code"), text(&" ".repeat(1 << 20)), b"uq\x01".to_vec()].concat();
    let reducer = [get("torch.fx.graph_module", "reduce_graph_module"), b"q\x02".to_vec()].concat();
    let calls = b"h\x02h\x01\x85R0".repeat(1_000);
    assert_dangerous(&program(&[&graph, b"0", &reducer, b"0", &calls, b"N"]), "computed");
}

/// Sixteen thousand scales, stored once, for ten thousand tensors: 2.5 GB if each listed its own.
#[test]
fn scales_that_tensors_share_are_listed_as_often_as_the_file_could_store_them() {
    const SCALES: i32 = 16_384;
    let count = [b"J".to_vec(), SCALES.to_le_bytes().to_vec()].concat();
    let view = |storage: &str, elements: &[u8]| {
        let id = [
            b"(".to_vec(),
            text("storage"),
            get("torch", storage),
            text("0"),
            text("cpu"),
            elements.to_vec(),
            b"tQ".to_vec(),
        ];
        [id.concat(), b"K\x00".to_vec(), count.clone(), b"\x85K\x01\x85".to_vec()].concat()
    };
    let rest = [b"\x89".to_vec(), get("collections", "OrderedDict"), b")R".to_vec()].concat();
    let call = |function: &str, arguments: Vec<u8>| {
        [get("torch._utils", function), b"(".to_vec(), arguments, b"tR".to_vec()].concat()
    };
    let scales = call("_rebuild_tensor_v2", [view("FloatStorage", &count), rest.clone()].concat());
    let quantizer =
        [b"(".to_vec(), get("torch", "per_channel_affine"), scales.clone(), scales, b"K\x00tq\x01".to_vec()]
            .concat();
    let codes = call("_rebuild_qtensor", [view("QInt8Storage", &count), b"h\x01".to_vec(), rest].concat());
    let pickle =
        [b"\x80\x02".to_vec(), quantizer, b"0".to_vec(), dictionary(10_000, &codes), b".".to_vec()].concat();
    let content = vec![0; 4 * SCALES as usize];
    let bytes = archive(&[("m/data.pkl", &pickle), ("m/data/0", &content), ("m/version", b"3\n")], stored());
    let length = bytes.len();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.pt");
    std::fs::write(&path, bytes).unwrap();
    let info = inspect(&path).unwrap();
    let listed: usize = info
        .tensors
        .iter()
        .filter_map(|tensor| tensor.quantization.as_ref().into_option())
        .map(|parameters| parameters.scales.len())
        .sum();
    assert!(listed <= length / 4 + (1 << 16), "{listed} scales of a file of {length} bytes");
    let last = info.tensors.iter().find(|tensor| tensor.name == "t9999").unwrap();
    let parameters = last.quantization.as_ref().into_option().unwrap();
    assert_eq!((parameters.scale_count, parameters.scale_name.as_str()), (SCALES as u64, "t9999.scales"));
}

#[test]
fn tensors_that_leave_their_storage_are_refused() {
    let tensor = |offset: &[u8], size: &[u8], stride: &[u8]| {
        let storage =
            b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ";
        let head = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(".as_slice();
        let tail = b"\x89ccollections\nOrderedDict\n)RtRs.".as_slice();
        saved(&[head, storage, offset, size, b"\x85", stride, b"\x85", tail].concat())
    };
    assert_eq!(examine(&tensor(b"K\x00", b"K\x04", b"K\x01")).unwrap().tensors.len(), 1);
    assert_error(&tensor(b"K\x00", b"K\x05", b"K\x01"), ErrorKind::CORRUPT_FILE);
    assert_error(&tensor(b"K\x01", b"K\x04", b"K\x01"), ErrorKind::CORRUPT_FILE);
    assert_error(&tensor(b"K\x00", b"K\x03", b"K\x02"), ErrorKind::CORRUPT_FILE);
    assert_error(&tensor(b"K\x00", b"J\xff\xff\xff\xff", b"K\x01"), ErrorKind::CORRUPT_FILE);
    assert_error(&tensor(b"J\xff\xff\xff\xff", b"K\x01", b"K\x01"), ErrorKind::CORRUPT_FILE);
    assert_error(&tensor(b"K\x00", b"K\x02", b"J\xff\xff\xff\xff"), ErrorKind::CORRUPT_FILE);
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f".as_slice();
    assert_error(&tensor(b"K\x00", huge, b"K\x01"), ErrorKind::CORRUPT_FILE);
    assert_error(&tensor(b"K\x00", b"K\x02", huge), ErrorKind::CORRUPT_FILE);
    // A stride of any size is harmless where there is one element.
    assert!(examine(&tensor(b"K\x00", b"K\x01", huge)).is_ok());
    // A storage repeated 2^40 times is listed and not delivered.
    let endless = tensor(b"K\x00", b"\x8a\x06\x00\x00\x00\x00\x00\x01", b"K\x00");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.pt");
    std::fs::write(&path, endless).unwrap();
    let model = open(&backend(), &path).unwrap();
    assert_eq!(read_tensor(&model, "w").unwrap_err().kind, ErrorKind::CORRUPT_FILE);
}

#[test]
fn archives_that_lie_are_refused() {
    let pickle = b"\x80\x02N.".as_slice();
    for name in ["../data.pkl", "/m/data.pkl", "m/../../data.pkl", "m\\data.pkl", "C:/data.pkl"] {
        assert_error(&archive(&[(name, pickle)], stored()), ErrorKind::UNSAFE_FILE);
    }
    // Two entries of one name: the second is renamed in place, in both of its headers.
    let mut doubled = archive(&[("m/data.pkl", pickle), ("m/data.pkX", pickle)], stored());
    let starts: Vec<usize> =
        (0..doubled.len() - 10).filter(|&at| &doubled[at..at + 10] == b"m/data.pkX").collect();
    assert_eq!(starts.len(), 2);
    starts.iter().for_each(|&start| doubled[start + 9] = b'l');
    assert_ambiguous(&doubled, "two entries of the same name");
    // A bomb: 64 MiB of zeros in some 60 KiB.
    let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let zeros = vec![0_u8; 64 << 20];
    assert_error(&archive(&[("m/data.pkl", pickle), ("m/data/0", &zeros)], deflated), ErrorKind::UNSAFE_FILE);
    // Deflated and honest is fine.
    assert!(examine(&archive(&[("m/data.pkl", pickle), ("m/data/0", &[7; 5000])], deflated)).is_ok());
    // A size that is not there.
    let honest = saved(pickle);
    let directory = honest.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    for (field, value) in [(20, 0x7fff_ffff_u32), (24, 0x7fff_ffff), (42, 0x7fff_ffff)] {
        let mut lying = honest.clone();
        lying[directory + field..directory + field + 4].copy_from_slice(&value.to_le_bytes());
        assert_error(&lying, ErrorKind::CORRUPT_FILE);
    }
    // A name with a line feed, which the headers have in two ways.
    let mut named = archive(&[("m/da\nta.pkl", pickle)], stored());
    named[30] = b'n';
    assert_ambiguous(&named, "another name, size or compression");
    // Byte orders that do not exist.
    assert_error(
        &archive(&[("m/data.pkl", pickle), ("m/byteorder", b"middle")], stored()),
        ErrorKind::CORRUPT_FILE,
    );
}

#[test]
fn code_that_doubles_nests_and_calls_itself_is_followed_only_so_far() {
    let script = |code: &str| {
        let pickle = b"\x80\x02c__torch__\nNet\n)\x81}X\x08\x00\x00\x00training\x89sb.".as_slice();
        let entries: [(&str, &[u8]); 4] = [
            ("m/data.pkl", pickle),
            ("m/constants.pkl", b"\x80\x02)."),
            ("m/code/__torch__.py", code.as_bytes()),
            ("m/version", b"3"),
        ];
        archive(&entries, stored())
    };
    let net = |body: &str| {
        format!("class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n{body}")
    };
    let doubling = net(&"    x = [x, x]\n".repeat(200)) + "    return x\n";
    assert_eq!(examine(&script(&doubling)).unwrap().format, "torchscript");
    let nested = format!("    return {}x{}\n", "(self).forward(".repeat(90), ")".repeat(90));
    assert!(examine(&script(&net(&nested))).is_ok());
    // A list of four thousand, handed on twenty thousand times.
    let list = format!("    x = [{}]\n{}    return x\n", "x, ".repeat(4_000), "    x = x\n".repeat(20_000));
    assert!(examine(&script(&net(&list))).is_ok());
    let repeated = net(&"    x = torch.relu(x)\n".repeat(40_000)) + "    return x\n";
    assert_eq!(examine(&script(&repeated)).unwrap().layers.len(), 40_000);
}

/// The entries of an exported program in an archive of programs.
fn entries_of(file: &str, program: &str) -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let unpacked = |bytes: Vec<u8>| -> Vec<(String, Vec<u8>)> {
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        let entries = (0..archive.len()).map(|index| {
            let mut entry = archive.by_index(index).unwrap();
            let mut content = Vec::new();
            std::io::copy(&mut entry, &mut content).unwrap();
            (entry.name().unwrap().into_owned(), content)
        });
        entries.collect()
    };
    let files = unpacked(std::fs::read(path).unwrap());
    unpacked(files.into_iter().find(|(name, _)| name == program).unwrap().1)
}

/// A pickle that calls a command.
const CALLS: &[u8] = b"cposix\nsystem\n(S'true'\ntR.";

#[test]
fn a_pickled_weight_of_a_program_is_judged_and_checked() {
    let entries = entries_of("torchao.zip", "weight_only_int8.pt2");
    let with = |weight: &[u8]| {
        let entries: Vec<(&str, &[u8])> = entries
            .iter()
            .map(|(name, content)| {
                let is_weight = name.ends_with("data/weights/weight_0");
                (name.as_str(), if is_weight { weight } else { content.as_slice() })
            })
            .collect();
        archive(&entries, stored())
    };
    let weight = &entries.iter().find(|(name, _)| name.ends_with("data/weights/weight_0")).unwrap().1;
    assert_eq!(examine(&with(weight)).unwrap().precision, "weight-only-int8");
    let info = examine(&with(&saved(CALLS))).unwrap();
    assert!(info.findings.iter().any(|finding| finding.severity == Severity::DANGER), "{:?}", info.findings);
    assert_eq!(info.run_obstacle.into_option().unwrap().kind, ErrorKind::UNSAFE_FILE);
    for length in (0..weight.len()).step_by(13) {
        let error = examine(&with(&weight[..length])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CORRUPT_FILE, "cut at {length}: {error:?}");
    }
    // A tensor of another class than the graph takes apart, and no tensor at all.
    assert_eq!(examine(&with(&saved(b"N."))).unwrap_err().kind, ErrorKind::CORRUPT_FILE);
}

#[test]
fn a_file_within_a_program_is_checked_as_one_of_its_own() {
    const WEIGHTS: &str = "serialized_state_dict.pt";
    let entries = entries_of("layouts.zip", "2.6_regions.pt2");
    let with = |weights: &[u8], options| {
        let entries: Vec<(&str, &[u8])> = entries
            .iter()
            .map(|(name, content)| {
                (name.as_str(), if name == WEIGHTS { weights } else { content.as_slice() })
            })
            .collect();
        archive(&entries, options)
    };
    let weights = entries.iter().find(|(name, _)| name == WEIGHTS).unwrap().1.clone();
    let tensors = |info: &ModelInfo| info.tensors.len();
    let stored_count = tensors(&examine(&with(&weights, stored())).unwrap());
    // What another tool has packed is read all the same.
    let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    assert_eq!(tensors(&examine(&with(&weights, deflated)).unwrap()), stored_count);
    for length in (1..weights.len()).step_by(11) {
        let error = examine(&with(&weights[..length], stored())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::CORRUPT_FILE, "cut at {length}: {error:?}");
    }
    // PyTorch writes nothing for a program that has none: here the graph then lacks its own.
    let info = examine(&with(&[], stored())).unwrap();
    assert_eq!(info.run_obstacle.into_option().unwrap().kind, ErrorKind::CORRUPT_FILE);
    let info = examine(&with(&saved(CALLS), stored())).unwrap();
    assert!(info.findings.iter().any(|finding| finding.severity == Severity::DANGER), "{:?}", info.findings);
    assert_eq!(info.run_obstacle.into_option().unwrap().kind, ErrorKind::UNSAFE_FILE);
    // A program for weights, within one, within one: nobody looks to the end of it.
    let mut within = with(&weights, stored());
    for _ in 0..6 {
        within = with(&within, stored());
    }
    let info = examine(&within).unwrap();
    assert!(info.findings.iter().any(|finding| finding.severity == Severity::DANGER), "{:?}", info.findings);
}

#[test]
fn a_big_endian_archive_is_turned_around() {
    let storage =
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ";
    let head = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(".as_slice();
    let tail = b"K\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.".as_slice();
    let pickle = [head, storage, tail].concat();
    let numbers = [1.5_f32.to_be_bytes(), (-2.0_f32).to_be_bytes()].concat();
    let bytes =
        archive(&[("m/data.pkl", &pickle), ("m/byteorder", b"big"), ("m/data/0", &numbers)], stored());
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.pt");
    std::fs::write(&path, bytes).unwrap();
    let model = open(&backend(), &path).unwrap();
    assert_eq!(read_tensor(&model, "w").unwrap().floats(), [1.5, -2.0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for bytes in [bytes.clone(), saved(&bytes), [b"PK\x03\x04".to_vec(), bytes].concat()] {
            if let Err(error) = examine(&bytes) {
                prop_assert_ne!(error.kind, ErrorKind::INTERNAL);
            }
        }
    }

    #[test]
    fn mutations_never_panic(file in 0..4_usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let name = ["tensors.pt", "tensors_legacy.pt", "dynamic.pt", "exported.pt2"][file];
        let mut bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Err(error) = examine(&bytes) {
            prop_assert_ne!(error.kind, ErrorKind::INTERNAL);
        }
    }
}

/// A fuzzer's: an operator with a name of thousands of letters, which a finding lists.
#[test]
fn findings_quote_the_beginning_of_a_name_alone() {
    let node = |target: &str| {
        format!(
            r#"{{"target":"torch.ops.aten.{target}.default","inputs":[],"outputs":[{{"as_tensor":{{"name":"y"}}}}],"metadata":{{}}}}"#
        )
    };
    let program = |target: &str| {
        format!(
            r#"{{"graph_module":{{"graph":{{"inputs":[],"outputs":[],"nodes":[{}],"tensor_values":{{}}}},"signature":{{"input_specs":[],"output_specs":[]}}}},"schema_version":{{"major":8,"minor":8}}}}"#,
            node(target)
        )
    };
    let of = |target: &str| {
        qp_plugin_pytorch::describe(support::deep::exported(&program(target)), "m.pt2").unwrap()
    };
    let subject = |info: &ModelInfo| {
        let finding = info.findings.iter().find(|finding| finding.code == "code.unknown-operator").unwrap();
        finding.subjects[0].to_string()
    };
    assert!(subject(&of("strange")).contains("strange"));
    let long = subject(&of(&"ß".repeat(5000)));
    assert!(long.len() <= 4096 && long.ends_with("ß…"), "{}", long.len());
}

/// A fuzzer's: no number holds the product of the first two sizes, and there is no element.
#[test]
fn a_shape_without_elements_may_have_sizes_that_cannot_be_multiplied() {
    let tensor = |shape: &str| format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}"#);
    let header =
        format!(r#"{{"a.weight":{},"a.bias":{}}}"#, tensor("[9223372036854775807,2,0]"), tensor("[0]"));
    let file = [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes()].concat();
    match qp_plugin_pytorch::describe(file, "m.safetensors") {
        Ok(info) => assert_eq!(info.tensors.len(), 2),
        Err(error) => assert_eq!(error.kind, ErrorKind::CORRUPT_FILE, "{error:?}"),
    }
}
