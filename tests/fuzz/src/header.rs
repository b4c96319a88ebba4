//! Mutations of safetensors files that keep the header JSON, and of the size it has.

use crate::random::Random;
use serde_json::{Map, Value, json};

const NAMES: [&str; 14] = [
    "weight",
    "layer.0.weight",
    "a.qweight",
    "a.qzeros",
    "a.scales",
    "a.g_idx",
    "a.weight_scale",
    "a.weight_packed",
    "a.weight.quant_state.bitsandbytes__nf4",
    "a.weight.absmax",
    "a.weight_blocks",
    "a.weight_scales",
    "",
    "__metadata__",
];
const TYPES: [&str; 16] = [
    "F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64", "U8", "U32", "BOOL", "F8_E4M3", "F8_E8M0", "F4",
    "F6_E2M3", "C64",
];
const NUMBERS: [i64; 12] = [0, 1, 2, 3, 4, 8, 16, 64, -1, i64::MAX, 1 << 31, 1 << 40];

/// `seed` with tensors added, removed, renamed and described otherwise.
pub fn mutate(random: &mut Random, seed: &[u8]) -> Vec<u8> {
    let (mut header, data) = parse(seed).unwrap_or_default();
    let mut data = data.to_vec();
    for _ in 0..=random.below(6) {
        let names: Vec<String> = header.keys().cloned().collect();
        let name = random.pick(&names).cloned().unwrap_or_default();
        let other = NAMES[random.below(NAMES.len())].to_owned();
        match random.below(10) {
            0 => drop(header.remove(&name)),
            1 => {
                if let Some(tensor) = header.get(&name).cloned() {
                    header.insert(other, tensor);
                }
            }
            2 => {
                if let Some(tensor) = header.remove(&name) {
                    header.insert(format!("{name}.{other}"), tensor);
                }
            }
            3 => set(&mut header, &name, "dtype", json!(TYPES[random.below(TYPES.len())])),
            4 => {
                let shape: Vec<i64> =
                    (0..random.below(5)).map(|_| NUMBERS[random.below(NUMBERS.len())]).collect();
                set(&mut header, &name, "shape", json!(shape));
            }
            5 => {
                let start = random.below(data.len() + 4);
                let end = start + [0, 1, 4, 8, 64][random.below(5)];
                set(&mut header, &name, "data_offsets", json!([start, end]));
            }
            6 => data.resize(random.below(4096), random.next() as u8),
            7 => {
                let (key, text) = (
                    NAMES[random.below(NAMES.len())],
                    r#"{"quant_type":"nf4","blocksize":64,"shape":[8,8]}"#,
                );
                header.insert("__metadata__".to_owned(), json!({ key: text, "format": "pt" }));
            }
            8 => {
                // A tensor that is as it says.
                let (start, shape) = (data.len(), [1 + random.below(4), 1 + random.below(8)]);
                data.resize(start + shape[0] * shape[1], random.next() as u8);
                header.insert(
                    other,
                    json!({ "dtype": "U8", "shape": shape, "data_offsets": [start, data.len()] }),
                );
            }
            _ => {
                let mut nested = json!(1);
                for _ in 0..[2, 100, 200][random.below(3)] {
                    nested = json!([nested]);
                }
                set(&mut header, &name, ["dtype", "shape", "data_offsets", "more"][random.below(4)], nested);
            }
        }
    }
    let text = Value::Object(header).to_string();
    let length = match random.below(16) {
        0 => random.next(),
        1 => text.len() as u64 + data.len() as u64,
        _ => text.len() as u64,
    };
    [length.to_le_bytes().as_slice(), text.as_bytes(), &data].concat()
}

fn parse(bytes: &[u8]) -> Option<(Map<String, Value>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    match serde_json::from_slice(rest.get(..length)?).ok()? {
        Value::Object(header) => Some((header, &rest[length..])),
        _ => None,
    }
}

fn set(header: &mut Map<String, Value>, name: &str, key: &str, value: Value) {
    if let Some(Value::Object(tensor)) = header.get_mut(name) {
        tensor.insert(key.to_owned(), value);
    }
}
