//! The declarations of what a model file holds.

use crate::catalog::{Accuracy, Digest};
use crate::inspect::CodeSummary;
use crate::model::{
    Attribute, AttributeValue, DType, Dimension, Finding, LayerInfo, ListedMethod, ListedStep, Listing,
    QuantizationParameters, TensorInfo, ValueInfo,
};
use crate::render::record::{Datum, Field, IntoDatum, Kind, Record, Unit, word};

impl IntoDatum for DType {
    fn kind() -> Kind {
        Kind::Text
    }

    fn into_datum(self) -> Datum {
        Datum::Text(self.to_string())
    }
}

impl IntoDatum for Dimension {
    fn kind() -> Kind {
        Kind::Optional(Box::new(Kind::AnyOf(vec![Kind::Count, Kind::Text])))
    }

    fn into_datum(self) -> Datum {
        match self {
            Self::Fixed(size) => Datum::Count(size),
            Self::Symbolic(name) => Datum::Text(name),
            Self::Unknown => Datum::Missing,
        }
    }
}

impl IntoDatum for AttributeValue {
    fn kind() -> Kind {
        let list = |kind: Kind| Kind::List(Box::new(kind));
        Kind::AnyOf(vec![
            Kind::Whole,
            Kind::Real,
            Kind::Text,
            list(Kind::Whole),
            list(Kind::Real),
            list(Kind::Text),
            Kind::Tagged("tensor", Box::new(Kind::Text)),
            Kind::Tagged("graphs", Box::new(list(Kind::Text))),
            Kind::Tagged("other", Box::new(Kind::Text)),
        ])
    }

    fn into_datum(self) -> Datum {
        match self {
            Self::Int(number) => number.into_datum(),
            Self::Float(number) => number.into_datum(),
            Self::Text(text) => text.into_datum(),
            Self::Ints(numbers) => numbers.into_datum(),
            Self::Floats(numbers) => numbers.into_datum(),
            Self::Texts(texts) => texts.into_datum(),
            Self::Tensor { tensor } => Datum::Tagged("tensor", Box::new(tensor.into_datum())),
            Self::Graphs { graphs } => Datum::Tagged("graphs", Box::new(graphs.into_datum())),
            Self::Other { other } => Datum::Tagged("other", Box::new(other.into_datum())),
        }
    }
}

impl Record for QuantizationParameters {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("dtype", Unit::Text, "Type of the codes", |codes| codes.dtype),
            Self::field(
                "scales",
                Unit::Text,
                "One scale per tensor, channel or block: real = (code − zero point) · scale; empty if dynamic or too many to list",
                |codes| codes.scales.clone(),
            ),
            Self::field(
                "zero_points",
                Unit::Text,
                "One zero point per scale, one for all, or none if all are zero",
                |codes| codes.zero_points.clone(),
            ),
            Self::field("scale_count", Unit::Count, "Number of scales, listed or not", |codes| {
                codes.scale_count
            }),
            Self::field("axis", Unit::Index, "Axis of the channels or blocks", |codes| codes.axis),
            Self::field("block_size", Unit::Count, "Elements along the axis that share a scale", |codes| {
                codes.block_size
            }),
            Self::field("scale_name", Unit::Name, "Stored tensor that holds the scales", |codes| {
                codes.scale_name.clone()
            }),
            Self::field("zero_point_name", Unit::Name, "Stored tensor that holds the zero points", |codes| {
                codes.zero_point_name.clone()
            }),
            Self::field(
                "is_dynamic",
                Unit::Flag,
                "Whether the parameters are computed for each input (dynamic quantization)",
                |codes| codes.is_dynamic,
            ),
            Self::field(
                "code_range",
                Unit::Index,
                "Smallest and largest code in use, if narrower than the type",
                |codes| codes.code_range,
            )
            .omitted_if_missing(),
        ]
    }
}

impl Record for ValueInfo {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the value", |value| value.name.clone()),
            Self::field("dtype", Unit::Text, "Element type; undefined if the file does not say", |value| {
                value.dtype
            }),
            Self::field(
                "shape",
                Unit::Index,
                "Shape: a number, a symbolic name or null per dimension; null if the rank is unknown",
                |value| value.shape.clone(),
            ),
            Self::object("quantization", "How its codes map to real values", |value| {
                value.quantization.as_ref()
            }),
            Self::field(
                "type_name",
                Unit::Text,
                "Type of a value that is not a tensor, such as a sequence",
                |value| value.type_name.clone(),
            ),
            Self::field("is_optional", Unit::Flag, "Present and true if this input has a default", |value| {
                value.is_optional.then_some(true)
            })
            .omitted_if_missing(),
        ]
    }
}

impl Record for TensorInfo {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the stored tensor", |tensor| tensor.name.clone()),
            Self::field("role", Unit::Text, "What it is for", |tensor| word(tensor.role)).choices(&[
                "parameter",
                "buffer",
                "constant",
                "quantization",
            ]),
            Self::field("dtype", Unit::Text, "Element type as stored", |tensor| tensor.dtype),
            Self::field("shape", Unit::Index, "Shape; empty for a scalar", |tensor| tensor.shape.clone()),
            Self::field("bytes", Unit::Bytes, "Size as stored", |tensor| tensor.bytes),
            Self::field("layer", Unit::Text, "Layer that owns it; null if none or several do", |tensor| {
                tensor.layer.clone()
            }),
            Self::object("quantization", "How its codes map to real values", |tensor| {
                tensor.quantization.as_ref()
            }),
            Self::field(
                "external_file",
                Unit::Text,
                "File that holds it, if not the model file, relative to the model's folder",
                |tensor| tensor.external_file.clone(),
            ),
            Self::field("alias_of", Unit::Text, "Earlier tensor that shares its storage", |tensor| {
                tensor.alias_of.clone()
            }),
            Self::field(
                "type_name",
                Unit::Text,
                "Storage format of elements that no element type describes",
                |tensor| tensor.type_name.clone(),
            )
            .omitted_if_missing(),
        ]
    }
}

impl Record for Attribute {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the attribute", |attribute| attribute.name.clone()),
            Self::field(
                "value",
                Unit::Text,
                "A number, a text, a list of either, or an object that names a tensor, graphs or anything else",
                |attribute| attribute.value.clone(),
            ),
        ]
    }
}

impl Record for LayerInfo {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("path", Unit::Name, "Full path, unique in the model", |layer| layer.path.clone()),
            Self::field("op_type", Unit::Text, "Operator (ONNX) or class (PyTorch)", |layer| {
                layer.op_type.clone()
            }),
            Self::field(
                "domain",
                Unit::Text,
                "Domain of the operator or module of the class; null for the default",
                |layer| layer.domain.clone(),
            ),
            Self::field(
                "scope",
                Unit::Text,
                "Enclosing subgraph, function or module; null at the top level",
                |layer| layer.scope.clone(),
            ),
            Self::field(
                "inputs",
                Unit::Text,
                "Values and stored tensors that it reads; empty text for an omitted input",
                |layer| layer.inputs.clone(),
            ),
            Self::field(
                "outputs",
                Unit::Text,
                "Values that it computes; empty text for an omitted output",
                |layer| layer.outputs.clone(),
            ),
            Self::field(
                "tensors",
                Unit::Text,
                "Its stored tensors, scales and zero points included",
                |layer| layer.tensors.clone(),
            ),
            Self::list("attributes", "Attributes in the order of the file", |layer| &layer.attributes),
            Self::field("quantization", Unit::Text, "How it is quantized; null if it is not", |layer| {
                layer.quantization.clone()
            }),
            Self::field("kind", Unit::Text, "What it does, under a name common to all formats", |layer| {
                layer.kind.name()
            }),
        ]
    }
}

impl Record for Finding {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("severity", Unit::Text, "How serious it is", |finding| word(finding.severity))
                .choices(&["note", "warning", "danger"]),
            Self::field("code", Unit::Text, "Kind of finding, for machines", |finding| finding.code.clone()),
            Self::field("message", Unit::Text, "What was found", |finding| finding.message.clone()),
            Self::field("subjects", Unit::Text, "Globals, layers or tensors that it concerns", |finding| {
                finding.subjects.clone()
            }),
        ]
    }
}

impl Record for Digest {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "precision",
                Unit::Text,
                "Numeric precision of the weights and activations: float32, int8, mixed, …",
                |digest| digest.precision.clone(),
            ),
            Self::field(
                "scheme",
                Unit::Text,
                "Form of quantization: QDQ, QOperator, dynamic, …; null for a float model",
                |digest| digest.scheme.clone(),
            ),
            Self::field("layers", Unit::Count, "Number of layers", |digest| digest.layers),
            Self::field(
                "parameters",
                Unit::Count,
                "Number of parameters, shared ones counted once",
                |digest| digest.parameters,
            ),
            Self::field("tensor_bytes", Unit::Bytes, "Size of all stored tensors", |digest| {
                digest.tensor_bytes
            }),
            Self::field(
                "quantized_share",
                Unit::Share,
                "Share of the parameters that are stored quantized",
                |digest| digest.quantized_share,
            ),
            Self::field(
                "is_runnable",
                Unit::Flag,
                "Whether the backend can run the model if its runtime is present",
                |digest| digest.is_runnable,
            ),
            Self::object("alert", "Most serious finding above a note", |digest| digest.alert.as_ref()),
        ]
    }
}

impl Record for Accuracy {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field(
                "top1",
                Unit::Share,
                "Top-1 accuracy: share of samples whose most likely class is the label",
                |accuracy| accuracy.top1,
            ),
            Self::field("samples", Unit::Count, "Samples that it was measured on", |accuracy| {
                accuracy.samples
            }),
            Self::field("data", Unit::Text, "Data that it was measured on", |accuracy| accuracy.data.clone()),
        ]
    }
}

impl Record for CodeSummary {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("used", Unit::Count, "Distinct codes that occur", |codes| codes.used),
            Self::field("available", Unit::Count, "Codes that the type has", |codes| codes.available),
            Self::field("smallest", Unit::Index, "Smallest code that occurs", |codes| codes.smallest),
            Self::field("largest", Unit::Index, "Largest code that occurs", |codes| codes.largest),
            Self::field(
                "effective_bits",
                Unit::Decimals(2),
                "Effective bits: log2 of the number of distinct codes that occur",
                |codes| codes.effective_bits,
            ),
        ]
    }
}

impl Record for Listing {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("language", Unit::Text, "Language of the code: TorchScript", |listing| {
                listing.language.clone()
            }),
            Self::field(
                "layer",
                Unit::Text,
                "Layer that the code belongs to; empty for the model",
                |listing| listing.layer.clone(),
            ),
            Self::field(
                "class",
                Unit::Text,
                "Full name of its class or function; empty if none",
                |listing| listing.class.clone(),
            ),
            Self::list("methods", "Its methods, the one that a run calls first", |listing| &listing.methods),
            Self::list("inlined", "All that it computes, with every call inlined", |listing| {
                &listing.inlined
            }),
        ]
    }
}

impl Record for ListedMethod {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the method", |method| method.name.clone()),
            Self::field("text", Unit::Text, "Its code", |method| method.text.clone()),
        ]
    }
}

impl Record for ListedStep {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("layer", Unit::Text, "Layer that computes it; empty for the model", |step| {
                step.layer.clone()
            }),
            Self::field("depth", Unit::Count, "Number of enclosing branches and loops", |step| {
                u32::from(step.depth)
            }),
            Self::field("text", Unit::Text, "Line of code", |step| step.text.clone()),
        ]
    }
}

/// How often an operator or class occurs.
pub(in crate::commands) struct OpCount<'a> {
    pub(in crate::commands) op_type: &'a str,
    pub(in crate::commands) count: usize,
}

impl Record for OpCount<'_> {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("op_type", Unit::Text, "Operator (ONNX) or class (PyTorch)", |op| op.op_type),
            Self::field("count", Unit::Count, "Number of layers", |op| op.count),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_shapes_are_plain_json() {
        let json = |value: AttributeValue| value.into_datum().into_json().to_string();
        assert_eq!(json(AttributeValue::Ints(vec![1, 1])), "[1,1]");
        assert_eq!(json(AttributeValue::Text("SAME".into())), "\"SAME\"");
        assert_eq!(json(AttributeValue::Tensor { tensor: "w".into() }), r#"{"tensor":"w"}"#);
        let shape = vec![Dimension::Symbolic("batch".into()), Dimension::Fixed(3), Dimension::Unknown];
        assert_eq!(shape.into_datum().into_json().to_string(), r#"["batch",3,null]"#);
    }
}
