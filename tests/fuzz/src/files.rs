//! Files of PyTorch around what is fuzzed, sound otherwise.

use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An archive with the graph of an exported program.
pub fn program_file(bytes: &[u8]) -> Vec<u8> {
    let weights = br#"{"config":{"w":{"path_name":"weight_0","is_param":true,"use_pickle":false,"tensor_meta":{"dtype":7,"sizes":[{"as_int":4}],"strides":[{"as_int":1}],"storage_offset":{"as_int":0}}},"s":{"path_name":"weight_0","is_param":false,"use_pickle":false,"tensor_meta":{"dtype":7,"sizes":[{"as_int":2}],"strides":[{"as_int":1}],"storage_offset":{"as_int":0}}}}}"#;
    let entries: [(&str, &[u8]); 6] = [
        ("m/archive_format", b"pt2"),
        ("m/archive_version", b"0"),
        ("m/byteorder", b"little"),
        ("m/models/model.json", bytes),
        ("m/data/weights/model_weights_config.json", weights),
        ("m/data/weights/weight_0", &[0; 16]),
    ];
    archive_of(&entries)
}

/// A file of `torch.save` with an fx graph of one input `x` and the code of these lines.
pub fn fx_file(lines: &str) -> Vec<u8> {
    let body: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let code = format!("def forward(self, x):\n{body}");
    let text = |text: &str| {
        let length = u32::try_from(text.len()).unwrap_or(0).to_le_bytes();
        [b"X", &length[..], text.as_bytes()].concat()
    };
    let state = ["_parameters", "_buffers", "_modules"].map(|name| [text(name), b"}".to_vec()].concat());
    let pickle = [
        b"\x80\x02ctorch.fx.graph_module\nreduce_graph_module\n(}(".to_vec(),
        text("_code"),
        text(&code),
        state.concat(),
        b"u".to_vec(),
        text("import torch\n"),
        b"tR.".to_vec(),
    ];
    archive_of(&[("m/data.pkl", &pickle.concat()), ("m/version", b"3\n")])
}

/// An archive of these entries, under a folder each.
pub fn archive_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in entries {
        writer.start_file(*name, options).expect("an archive can be written to memory");
        writer.write_all(content).expect("an archive can be written to memory");
    }
    writer.finish().expect("an archive can be written to memory").into_inner()
}
