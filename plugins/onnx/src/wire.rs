//! A check of a model's protobuf structure before it is decoded.
//!
//! It says what a decoder cannot: that a file is no ONNX model at all, or where it was cut off. And it bounds
//! what the decoder will allocate: an empty message takes two bytes in the file and hundreds in memory. Weight
//! bytes are skipped, so that a model of many gigabytes is checked in milliseconds.

/// Messages, texts and lists in one model, beyond which it is refused. The largest published graphs have
/// some hundred thousand.
const MAX_PARTS: u64 = 20_000_000;

/// Messages inside messages; a subgraph takes three levels. The decoder's own limit is 100.
const MAX_DEPTH: usize = 96;

/// Why the bytes cannot be decoded as a model.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it looks like a model.
    Foreign(String),
    /// The bytes end before what they announce.
    Truncated {
        /// Where: `graph.initializer`.
        place: String,
        /// The announced length.
        needed: u64,
        /// The bytes that are there.
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
    /// Holds nothing that multiplies: walked for its bounds only.
    Leaf,
    /// Not looked into: elements, texts.
    Opaque,
}

/// The field's name and what it holds; `None` for a field that the schema does not have.
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

struct Frame {
    kind: Kind,
    name: &'static str,
    end: usize,
}

/// Checks that `bytes` has the structure of a model.
pub fn check_model(bytes: &[u8]) -> Result<(), Fault> {
    let mut frames = vec![Frame { kind: Kind::Model, name: "header", end: bytes.len() }];
    let mut at = 0;
    let mut parts = 0_u64;
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
        // A varint that the file cuts off is truncation; one that its message cuts off is damage.
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
            return Err(damaged("a field of another type than a model has"));
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
        parts += 1;
        if parts > MAX_PARTS {
            return Err(Fault::Damaged {
                place: place(&frames, None),
                reason: format!("more than {MAX_PARTS} parts"),
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

/// `graph.node.attribute`, shortened in the middle when it is deep.
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
