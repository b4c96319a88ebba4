//! A check of a model's protobuf structure before it is decoded.
//!
//! It detects what a decoder cannot: that a file is not an ONNX model at all, or where it was truncated. And it
//! limits what the decoder will allocate: an empty message takes two bytes in the file and hundreds in memory. Weight
//! bytes are skipped, so a model of many gigabytes is checked in milliseconds.

/// How much memory a decoded and described model may take, besides its weights: a fixed amount plus an amount per
/// byte of the file. Real graphs take up to some fifty bytes per byte, if their names are short numbers; a file of
/// nothing but empty messages would take hundreds.
const MEMORY: (u64, u64) = (128 << 20, 64);

/// Messages inside messages; a subgraph takes three levels. The decoder's own limit is 100.
const MAX_DEPTH: usize = 96;

/// Why the bytes cannot be decoded as a model.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing in it looks like a model.
    Foreign(String),
    /// The bytes end before the announced length.
    Truncated {
        /// Where: `graph.initializer`.
        place: String,
        /// The announced length.
        needed: u64,
        /// The number of bytes left.
        found: u64,
    },
    /// Something else is wrong inside a model.
    Damaged {
        /// Where.
        place: String,
        /// What.
        reason: String,
    },
}

/// The messages that can hold others, and what their fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Function,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    Shape,
    /// Holds nothing that multiplies: only its bounds are checked.
    Leaf,
    /// Not looked into: elements, texts.
    Opaque,
}

/// The field's name and what it holds; `None` for a field that is not in the schema.
fn field(kind: Kind, number: u64) -> Option<(&'static str, Kind)> {
    use Kind::{
        Attribute, Function, Graph, Leaf, Model, Node, Opaque, Shape, Sparse, Tensor, Type, ValueInfo,
    };
    Some(match (kind, number) {
        (Model, 7) => ("graph", Graph),
        (Model, 8) => ("opset_import", Leaf),
        (Model, 14) => ("metadata_props", Leaf),
        (Model, 25) => ("functions", Function),
        (Graph, 1) | (Function, 7) => ("node", Node),
        (Graph, 5) => ("initializer", Tensor),
        (Graph, 11) => ("input", ValueInfo),
        (Graph, 12) => ("output", ValueInfo),
        (Graph, 13) | (Function, 12) => ("value_info", ValueInfo),
        (Graph, 15) => ("sparse_initializer", Sparse),
        (Node, 5) => ("attribute", Attribute),
        (Function, 11) => ("attribute_proto", Attribute),
        (Function, 9) => ("opset_import", Leaf),
        (Attribute, 5 | 10) => ("tensor", Tensor),
        (Attribute, 6 | 11) => ("graph", Graph),
        (Attribute, 14 | 15) => ("type", Type),
        (Attribute, 22 | 23) => ("sparse_tensor", Sparse),
        (Sparse, 1) => ("values", Tensor),
        (Sparse, 2) => ("indices", Tensor),
        (ValueInfo, 2) => ("type", Type),
        // Tensor and sparse tensor types hold a shape in field 2; the others hold types.
        (Type, 1 | 8) => ("shape", Shape),
        (Type, 4 | 5 | 9) => ("element type", Type),
        (Tensor, 9) => ("raw_data", Opaque),
        (Model, 1..=6 | 20 | 26) => ("header", Opaque),
        (Leaf | Shape | Opaque, _) => ("content", Opaque),
        (Model, _) => return None,
        _ => ("content", Opaque),
    })
}

/// The approximate memory of one such part, besides its content.
fn decoded_bytes(kind: Kind) -> u64 {
    match kind {
        Kind::Attribute => 640,
        Kind::Sparse => 768,
        Kind::Node => 512,
        Kind::Tensor | Kind::Graph | Kind::Function => 384,
        Kind::ValueInfo => 256,
        Kind::Model | Kind::Type | Kind::Shape | Kind::Leaf => 96,
        Kind::Opaque => 32,
    }
}

/// The same for what a node reads or computes: each name may be a separate value.
const VALUE_BYTES: u64 = 256;

struct Frame {
    kind: Kind,
    name: &'static str,
    end: usize,
}

/// Checks that `bytes` has the structure of a model.
pub fn check_model(bytes: &[u8]) -> Result<(), Fault> {
    let mut frames = vec![Frame { kind: Kind::Model, name: "header", end: bytes.len() }];
    let mut at = 0;
    let mut memory = 0_u64;
    let (base, factor) = MEMORY;
    let max_memory = base.saturating_add(factor.saturating_mul(bytes.len() as u64));
    let mut known_fields = 0_u32;
    while let Some(frame) = frames.last() {
        if at >= frame.end {
            frames.pop();
            continue;
        }
        let (kind, end) = (frame.kind, frame.end);
        let is_top = frames.len() == 1;
        let damaged = |reason: &str| {
            if known_fields < 2 {
                Fault::Foreign(reason.to_owned())
            } else {
                Fault::Damaged { place: place(&frames, None), reason: format!("{reason} at byte {at}") }
            }
        };
        // A varint cut off by the end of the file is truncation; one cut off by its message is damage.
        let varint_or = |from: usize, until: usize| match varint(bytes.get(from..until).unwrap_or_default()) {
            Ok(found) => Ok(found),
            Err(Cut) if until == bytes.len() && known_fields >= 2 => {
                Err(Fault::Truncated { place: place(&frames, None), needed: 1, found: 0 })
            }
            Err(_) => Err(damaged("a number is cut off or too long")),
        };
        let (tag, tag_size) = varint_or(at, end)?;
        let number = tag >> 3;
        let known = field(kind, number);
        if number == 0 || (is_top && known.is_none() && known_fields < 2) {
            return Err(damaged("it does not start with the fields of a model"));
        }
        let body = at + tag_size;
        let (size, skipped) = match tag & 7 {
            0 => (0, varint_or(body, end)?.1),
            1 => (8, 0),
            5 => (4, 0),
            2 => {
                let (size, size_size) = varint_or(body, end)?;
                (size, size_size)
            }
            _ => return Err(damaged("an unknown kind of field")),
        };
        if is_top && known.is_some() && (tag & 7 == 0) != matches!(number, 1 | 5) {
            return Err(damaged("a field with a type that a model does not have"));
        }
        let start = body + skipped;
        let left = end - start;
        let Some(length) = usize::try_from(size).ok().filter(|&length| length <= left) else {
            let missing = u64::try_from(left).unwrap_or(u64::MAX);
            let name = known.map(|(name, _)| name);
            return Err(if end == bytes.len() && (known_fields >= 2 || number == 7) {
                Fault::Truncated { place: place(&frames, name), needed: size, found: missing }
            } else if known_fields >= 2 {
                Fault::Damaged {
                    place: place(&frames, name),
                    reason: format!("{size} bytes are announced, {missing} are left"),
                }
            } else {
                Fault::Foreign("it does not start with the fields of a model".to_owned())
            });
        };
        if is_top && known.is_some() {
            known_fields += 1;
        }
        at = start + length;
        if tag & 7 != 2 {
            continue;
        }
        let is_value = kind == Kind::Node && number <= 2;
        memory = memory.saturating_add(match known {
            Some(_) if is_value => VALUE_BYTES,
            Some((_, child)) => decoded_bytes(child),
            None => 0,
        });
        if memory > max_memory {
            return Err(Fault::Damaged {
                place: place(&frames, None),
                reason: "far more parts than a model of this size can have".to_owned(),
            });
        }
        if let Some((name, child)) = known
            && child != Kind::Opaque
        {
            if frames.len() >= MAX_DEPTH {
                return Err(Fault::Damaged {
                    place: place(&frames, None),
                    reason: format!("nested deeper than {MAX_DEPTH} levels"),
                });
            }
            frames.push(Frame { kind: child, name, end: at });
            at = start;
        }
    }
    Ok(())
}

/// `graph.node.attribute`, shortened in the middle if it is deep.
fn place(frames: &[Frame], last: Option<&'static str>) -> String {
    let names: Vec<&str> = frames.iter().skip(1).map(|frame| frame.name).chain(last).collect();
    match names.as_slice() {
        [] => "header".to_owned(),
        names if names.len() <= 6 => names.join("."),
        names => format!("{}…{}", names[..3].join("."), names[names.len() - 2..].join(".")),
    }
}

/// A varint that ends too early.
struct Cut;

/// A varint and its size in bytes.
fn varint(bytes: &[u8]) -> Result<(u64, usize), Cut> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    Err(Cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ir_version` and `producer_name`, then the given bytes.
    fn model(rest: &[u8]) -> Vec<u8> {
        [&[0x08, 0x0a, 0x12, 0x01, b'q'], rest].concat()
    }

    #[test]
    fn a_length_beyond_the_end_is_truncation_and_says_where() {
        // A graph of 100 bytes, of which only one node's header is present.
        let fault = check_model(&model(&[0x3a, 100, 0x0a, 50])).unwrap_err();
        assert_eq!(fault, Fault::Truncated { place: "graph".to_owned(), needed: 100, found: 2 });
    }

    #[test]
    fn a_length_beyond_its_message_is_damage() {
        let fault = check_model(&model(&[0x3a, 4, 0x0a, 50, 0, 0, 0x28, 1])).unwrap_err();
        assert!(matches!(fault, Fault::Damaged { place, .. } if place == "graph.node"));
    }

    #[test]
    fn other_files_are_foreign() {
        for bytes in [&b"# text"[..], b"PK\x03\x04", b"\x80\x02}q\x00", b"\x89HDF", b"{\"a\": 1}", &[0; 64]] {
            assert!(matches!(check_model(bytes), Err(Fault::Foreign(_))), "{bytes:?}");
        }
    }

    #[test]
    fn a_file_of_empty_messages_is_refused_before_it_fills_the_memory() {
        let tensors = [0x2a, 0x00].repeat(1_000_000);
        let length = u32::try_from(tensors.len()).unwrap();
        let mut varint = Vec::new();
        let mut rest = length;
        while rest >= 0x80 {
            varint.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        varint.push(rest.to_le_bytes()[0]);
        let fault = check_model(&model(&[&[0x3a], varint.as_slice(), &tensors].concat())).unwrap_err();
        assert!(matches!(fault, Fault::Damaged { reason, .. } if reason.contains("far more parts")));
    }
}
