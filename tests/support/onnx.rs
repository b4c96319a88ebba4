//! ONNX models written by hand: messages of `onnx.proto`, field by field.

/// A field of a number and bytes.
pub fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = tag(number, 2);
    encoded.extend(varint(bytes.len() as u64));
    encoded.extend_from_slice(bytes);
    encoded
}

/// A field of a number and a text.
pub fn text(number: u8, text: &str) -> Vec<u8> {
    field(number, text.as_bytes())
}

/// A field of a number and a whole number.
pub fn int(number: u8, value: u64) -> Vec<u8> {
    let mut encoded = tag(number, 0);
    encoded.extend(varint(value));
    encoded
}

fn tag(number: u8, kind: u64) -> Vec<u8> {
    varint(u64::from(number) << 3 | kind)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    while value > 0x7f {
        encoded.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
    encoded
}

/// `ValueInfoProto` of float32; a dimension is a size or a name.
pub fn value(name: &str, dimensions: &[Result<u64, &str>]) -> Vec<u8> {
    let dimension = |dimension: &Result<u64, &str>| match dimension {
        Ok(size) => field(1, &int(1, *size)),
        Err(name) => field(1, &text(2, name)),
    };
    let shape: Vec<u8> = dimensions.iter().flat_map(dimension).collect();
    let tensor_type = [int(1, 1), field(2, &shape)].concat();
    [text(1, name), field(2, &field(1, &tensor_type))].concat()
}

/// `TensorProto` with the elements as bytes. The type is 1 for float32, 3 for int8.
pub fn tensor(name: &str, dtype: u64, shape: &[u64], bytes: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|size| int(1, *size)).collect();
    [dims, int(2, dtype), text(8, name), field(9, bytes)].concat()
}

/// `NodeProto`.
pub fn node(name: &str, op_type: &str, domain: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
    let outputs: Vec<u8> = outputs.iter().flat_map(|name| text(2, name)).collect();
    [inputs, outputs, text(3, name), text(4, op_type), text(7, domain)].concat()
}

/// `ModelProto` of IR version 10 and opset 21, with this graph and further fields.
pub fn model(graph: &[u8], more: &[u8]) -> Vec<u8> {
    [int(1, 10), field(7, graph), field(8, &int(2, 21)), more.to_vec()].concat()
}
