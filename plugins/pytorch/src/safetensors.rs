//! Files of the safetensors library: a JSON header that says where each tensor's bytes are, and the bytes.
//!
//! Nothing in such a file can execute anything. What its header claims is checked all the same: sizes against
//! shapes, places against the end of the file. Source: the format description of huggingface/safetensors.

use crate::container::Source;
use crate::container::kind::MAX_SAFETENSORS_HEADER;
use crate::document::obstacle::{self, Loader};
use crate::document::{Collector, Document};
use crate::eager::StateDict;
use crate::tensor::{Data, Place, StoredTensor};
use layout::Layout;
use qp_abi::sdk::{BackendError, DType, Finding, RSome, RString, Result, Severity};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;

pub mod layout;
pub mod subclasses;

/// A longer name of a type is none.
const MAX_TYPE: usize = 64;
/// Tensors that a finding names.
const MAX_SUBJECTS: usize = 64;
/// The key of what is not a tensor.
const METADATA: &str = "__metadata__";

/// What a header says.
#[derive(Debug)]
pub struct Contents {
    /// The tensors in the order of the header, or what is wrong with their description.
    pub tensors: Vec<(String, Result<StoredTensor>)>,
    /// The tensors of types that are not known, by name: the type, and a tensor of their shape without elements.
    foreign: HashMap<String, (String, StoredTensor)>,
    /// Where the file ends.
    length: u64,
    /// The file's own metadata.
    pub metadata: Vec<(String, String)>,
    /// Why the safetensors library refuses the file.
    pub faults: Vec<String>,
}

/// Reads the header; no tensor is touched.
///
/// # Errors
/// `CorruptFile` when it makes no sense, or tensors overlap.
pub fn contents(source: &Source) -> Result<Contents> {
    let bytes = source.bytes()?;
    let length = bytes.len() as u64;
    let (header, start) = header(bytes)?;
    let mut contents = Contents {
        tensors: Vec::with_capacity(header.len()),
        foreign: HashMap::new(),
        metadata: Vec::new(),
        length,
        faults: Vec::new(),
    };
    let mut layout = Layout::default();
    header.iter().filter(|(name, _)| *name != METADATA).for_each(|(name, entry)| layout.add(name, entry));
    contents.faults = layout.faults(length.saturating_sub(start)).map_err(corrupt)?;
    for (name, entry) in header {
        if name == METADATA {
            let texts = entry.as_object().into_iter().flatten();
            let pairs = texts.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            contents.metadata.extend(pairs);
            contents.faults.extend(layout::metadata_fault(&entry));
            continue;
        }
        let tensor = tensor(&name, &entry, start);
        if let Some(foreign) = foreign(&entry) {
            contents.foreign.insert(name.clone(), foreign);
        }
        contents.tensors.push((name, tensor));
    }
    Ok(contents)
}

impl Contents {
    /// Whether a tensor lies within the file.
    ///
    /// # Errors
    /// `CorruptFile` when it does not: the file was cut.
    pub fn check(&self, name: &str, tensor: &StoredTensor) -> Result<()> {
        match &tensor.place {
            Place::Span { start, bytes } if start.checked_add(*bytes).is_none_or(|end| end > self.length) => {
                Err(corrupt(format!("tensor `{}` extends past the end of the file", name.escape_debug())))
            }
            _ => Ok(()),
        }
    }
}

/// Reads the file; no tensor is touched but those that describe others.
///
/// # Errors
/// `CorruptFile` when the header makes no sense.
pub fn read(source: Arc<Source>) -> Result<Document> {
    let contents = contents(&source)?;
    if contents.tensors.is_empty() {
        return Err(corrupt("it holds no tensors"));
    }
    let path = source.path().to_owned();
    let mut collector = Collector::new("safetensors", Data::of_file(source));
    let mut state = StateDict::default();
    let check = |(name, tensor): &(String, Result<StoredTensor>)| {
        if let Some((_, foreign)) = contents.foreign.get(name) {
            return Ok((name.clone(), foreign.clone()));
        }
        let tensor = tensor.clone()?;
        contents.check(name, &tensor)?;
        Ok((name.clone(), tensor))
    };
    let tensors: Result<Vec<_>> = contents.tensors.iter().map(check).collect();
    subclasses::add(tensors?, &contents.metadata, &mut state, &mut collector)?;
    state.finish(&mut collector)?;
    let info = &mut collector.document.info;
    for tensor in &mut info.tensors {
        if let Some((type_name, _)) = contents.foreign.get(tensor.name.as_str()) {
            tensor.type_name = type_name.as_str().into();
        }
    }
    if !contents.foreign.is_empty() {
        let mut types: Vec<&str> = contents.foreign.values().map(|(name, _)| name.as_str()).collect();
        types.sort_unstable();
        types.dedup();
        let mut subjects: Vec<RString> = contents.foreign.keys().map(|name| name.as_str().into()).collect();
        subjects.sort();
        info.findings.push(Finding {
            severity: Severity::WARNING,
            code: "safetensors.types".into(),
            message: format!("unknown element types: {}", types.join(", ")).into(),
            subjects: subjects.into_iter().take(MAX_SUBJECTS).collect(),
        });
    }
    info.findings.extend(layout::finding("this file", &contents.faults));
    info.run_obstacle = RSome(obstacle::weights_alone(Loader::Safetensors, &path, info));
    info.producer = "safetensors".into();
    Ok(collector.document)
}

fn corrupt(cause: impl Into<String>) -> BackendError {
    BackendError::corrupt_file("the file is damaged safetensors").with_cause(cause.into())
}

/// The header, and where the tensors' bytes begin.
fn header(bytes: &[u8]) -> Result<(Map<String, Value>, u64)> {
    let (size, rest) =
        bytes.split_first_chunk::<8>().ok_or_else(|| corrupt("it is shorter than a header"))?;
    let size = u64::from_le_bytes(*size);
    if size > MAX_SAFETENSORS_HEADER {
        return Err(corrupt(format!("its header claims {size} bytes")));
    }
    let text = usize::try_from(size).ok().and_then(|size| rest.get(..size));
    let text = text.ok_or_else(|| corrupt("it ends within its header"))?;
    match crate::container::json::parse(text, bytes.len() as u64) {
        Ok(Value::Object(header)) => Ok((header, 8 + size)),
        Ok(_) => Err(corrupt("its header is not a JSON object")),
        Err(error) => Err(corrupt(format!("its header is not JSON: {error}"))),
    }
}

/// One tensor; `data` is where in the file all of them begin.
fn tensor(name: &str, entry: &Value, data: u64) -> Result<StoredTensor> {
    let fault = |what: &str| corrupt(format!("tensor `{}` {what}", name.escape_debug()));
    let text = entry.get("dtype").and_then(Value::as_str).ok_or_else(|| fault("has no dtype"))?;
    let dtype = dtype(text).ok_or_else(|| {
        BackendError::unsupported_format(format!(
            "tensor `{}` is of the type `{}`, which is unknown",
            name.escape_debug(),
            text.escape_debug()
        ))
    })?;
    let shape = entry.get("shape").and_then(Value::as_array).ok_or_else(|| fault("has no shape"))?;
    let shape: Option<Vec<i64>> = shape.iter().map(|size| size.as_i64().filter(|size| *size >= 0)).collect();
    let shape = shape.ok_or_else(|| fault("has an impossible shape"))?;
    let [begin, end] = layout::offsets(entry).ok_or_else(|| fault("does not say where it is"))?;
    let (Some(bytes), Some(place)) = (end.checked_sub(begin), data.checked_add(begin)) else {
        return Err(fault("ends before it begins"));
    };
    let tensor = StoredTensor::dense_at(Place::Span { start: place, bytes }, dtype, shape);
    if tensor.bytes() != Some(bytes) {
        return Err(fault(&format!("has {bytes} bytes, which its shape does not need")));
    }
    Ok(tensor)
}

/// The type and the shape of a tensor whose type is not known, and which is sound otherwise.
fn foreign(entry: &Value) -> Option<(String, StoredTensor)> {
    let text = entry.get("dtype")?.as_str().filter(|text| text.len() <= MAX_TYPE && dtype(text).is_none())?;
    let sizes = entry.get("shape")?.as_array()?.iter().map(Value::as_i64);
    let shape: Vec<i64> = sizes.map(|size| size.filter(|size| *size >= 0)).collect::<Option<_>>()?;
    Some((text.to_owned(), StoredTensor::dense_at(Place::Nowhere, DType::UNDEFINED, shape)))
}

fn dtype(text: &str) -> Option<DType> {
    Some(match text {
        "BOOL" => DType::BOOL,
        "U8" => DType::UINT8,
        "I8" => DType::INT8,
        "U16" => DType::UINT16,
        "I16" => DType::INT16,
        "U32" => DType::UINT32,
        "I32" => DType::INT32,
        "U64" => DType::UINT64,
        "I64" => DType::INT64,
        "F16" => DType::FLOAT16,
        "BF16" => DType::BFLOAT16,
        "F32" => DType::FLOAT32,
        "F64" => DType::FLOAT64,
        "F8_E4M3" => DType::FLOAT8_E4M3FN,
        "F8_E5M2" => DType::FLOAT8_E5M2,
        "F8_E4M3FNUZ" => DType::FLOAT8_E4M3FNUZ,
        "F8_E5M2FNUZ" => DType::FLOAT8_E5M2FNUZ,
        "F8_E8M0" => DType::FLOAT8_E8M0,
        "F4" => DType::FLOAT4_E2M1,
        "C64" => DType::COMPLEX64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use qp_abi::sdk::ErrorKind;

    fn parse(header: &str, data: &[u8]) -> Result<Document> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        std::fs::write(&path, bytes).unwrap();
        read(Arc::new(Source::open(&path)?))
    }

    /// Laid out by hand as the format's description says.
    #[test]
    fn layers_follow_from_the_names_and_elements_lie_where_the_header_says() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "conv1.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},
            "bn1.running_mean":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},
            "fc.weight":{"dtype":"I8","shape":[3],"data_offsets":[12,15]}}"#;
        let mut data = [1.5_f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        data.extend_from_slice(&[0, 0x3c, 0, 0xc0, 1, 2, 255]);
        let document = parse(header, &data).unwrap();
        let layers: Vec<&str> = document.info.layers.iter().map(|layer| layer.path.as_str()).collect();
        assert_eq!(layers, ["conv1", "bn1", "fc"]);
        let dense = |name: &str| document.tensor(name).unwrap().0.dense(&document.data).unwrap().to_vec();
        assert_eq!(dense("conv1.weight"), &data[..8]);
        assert_eq!(dense("fc.weight"), [1, 2, 255]);
        assert_eq!(document.info.metadata[0].1, "pt");
        assert!(document.info.run_obstacle.is_some());
    }

    #[test]
    fn a_header_that_lies_is_corrupt() {
        let one = |entry: &str| format!("{{\"w\":{entry}}}");
        for header in [
            one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,9]}"#),
            one(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#),
            one(r#"{"dtype":"F32","shape":[2],"data_offsets":[4,12]}"#),
            one(r#"{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}"#),
            one(r#"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#),
            one(r#"{"dtype":"F32","data_offsets":[0,8]}"#),
            one(r#"{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551615,18446744073709551615]}"#),
            one("7"),
            "[]".to_owned(),
            "{".to_owned(),
            "{}".to_owned(),
        ] {
            let error = parse(&header, &[0; 8]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::CORRUPT_FILE, "{header}: {error:?}");
        }
    }

    #[test]
    fn one_type_that_is_not_known_makes_one_tensor_unknown() {
        let header = r#"{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]},
            "w":{"dtype":"I8","shape":[2],"data_offsets":[3,5]}}"#;
        let document = parse(header, &[0, 0, 0, 7, 8]).unwrap();
        let (_, unknown) = document.tensor("a").unwrap();
        assert_eq!((unknown.type_name.as_str(), unknown.dtype), ("F6_E2M3", DType::UNDEFINED));
        assert_eq!(unknown.shape.as_slice(), [4]);
        let (known, _) = document.tensor("w").unwrap();
        assert_eq!(known.dense(&document.data).unwrap().to_vec(), [7, 8]);
    }

    /// What safetensors 0.8.0 refuses: `invalid offset for tensor`, `incomplete metadata, file not fully covered` and
    /// `invalid type: integer, expected a string`.
    #[test]
    fn what_the_library_refuses_is_said_or_refused() {
        let tensors = |metadata: &str, z: [u64; 2]| {
            format!(
                r#"{{{metadata}"z":{{"dtype":"I8","shape":[{}],"data_offsets":{z:?}}},
                "a":{{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}}}"#,
                z[1] - z[0]
            )
        };
        let said = |header: &str, bytes: usize| {
            let document = parse(header, &vec![7; bytes]).unwrap();
            let dense = document.tensor("a").unwrap().0.dense(&document.data).unwrap().to_vec();
            assert_eq!(dense, [7, 7]);
            let findings = document.info.findings.iter();
            findings.map(|finding| finding.message.to_string()).collect::<Vec<_>>()
        };
        let refuses = |what: &str| [format!("the safetensors library refuses this file: {what}")];
        assert_eq!(said(&tensors("", [2, 6]), 6), [""; 0]);
        assert_eq!(said(&tensors("\"__metadata__\":null,", [2, 6]), 6), [""; 0]);
        assert_eq!(said(&tensors("", [2, 6]), 22), refuses("16 bytes after the last tensor belong to none"));
        assert_eq!(
            said(&tensors("", [3, 6]), 6),
            refuses("1 byte before or between tensors belongs to none")
        );
        assert_eq!(said(&tensors("", [1, 1]), 2), refuses("tensor `z` begins within another"));
        let number = "\"__metadata__\":{\"format\":\"pt\",\"epoch\":3},";
        assert_eq!(
            said(&tensors(number, [2, 6]), 6),
            refuses("what its metadata has as `epoch` is not text")
        );
        let list = "\"__metadata__\":[],";
        assert_eq!(said(&tensors(list, [2, 6]), 6), refuses("its metadata is not an object"));

        for z in [[1, 5], [0, 2], [0, 6]] {
            let error = parse(&tensors("", z), &[7; 6]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::CORRUPT_FILE);
            assert!(error.causes[0].ends_with("overlap"), "{error:?}");
        }
    }
}
