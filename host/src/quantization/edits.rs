//! The changes of the graph, as the backends accept them; they are documented at the top of `plugins/onnx/src/edit/mod.rs`.

use super::options::Options;
use super::parameters::Parameters;
use crate::backend::Edit;
use crate::model::{Activations, DType, Quantizable, QuantizableBias, QuantizableTensor, Tensor};

/// Cleans up the graph, of which these are samples of the inputs if its file does not describe them.
pub(super) fn prepare(samples: &[Tensor]) -> Edit {
    let shape = |sample: &Tensor| sample.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let arguments = samples.iter().map(|sample| (format!("shape:{}", sample.name), shape(sample)));
    Edit { action: "prepare", arguments: arguments.collect(), ..Edit::default() }
}

/// Writes the graph with operators of codes.
pub(super) fn to_qoperator() -> Edit {
    let arguments = vec![("to".to_owned(), "qoperator".to_owned())];
    Edit { action: "convert", arguments, ..Edit::default() }
}

/// All changes in their order.
pub(super) fn of(plan: &Quantizable, made: Vec<Edit>) -> Vec<Edit> {
    let fold = plan.folded.iter().map(|folded| Edit {
        action: "fold-clamp",
        target: folded.value.clone(),
        ..Edit::default()
    });
    fold.chain(made).collect()
}

/// A value with scale and zero point.
pub(super) fn value(name: &str, parameters: &Parameters) -> Edit {
    edit("quantize-value", name, parameters, (Vec::new(), Vec::new()))
}

/// A value with those of another.
pub(super) fn same_value(name: &str, other: &str) -> Edit {
    Edit {
        action: "quantize-value",
        target: name.to_owned(),
        arguments: vec![("same-as".to_owned(), other.to_owned())],
        elements: None,
    }
}

/// Codes in place of a stored tensor.
pub(super) fn tensor(
    planned: &QuantizableTensor,
    parameters: &Parameters,
    codes: (Vec<u64>, Vec<u8>),
    options: &Options,
) -> Edit {
    let action = match (parameters.block_size, options.activations) {
        (Some(_), _) => "quantize-blocks",
        (None, Activations::Dynamic) => "quantize-dynamic",
        (None, _) => "quantize-tensor",
    };
    let mut edit = edit(action, &planned.name, parameters, codes);
    if action != "quantize-tensor" {
        edit.arguments.extend(planned.values.iter().map(|value| ("value".to_owned(), value.clone())));
    }
    if let Some(size) = parameters.block_size {
        edit.arguments.push(("block-size".to_owned(), size.to_string()));
        if options.qoperator {
            edit.arguments.push(("to".to_owned(), "product".to_owned()));
            let level = options.accuracy_level.map(|level| ("accuracy-level".to_owned(), level.to_string()));
            edit.arguments.extend(level);
        }
    }
    edit
}

/// Whether the edit puts codes in place of this stored tensor.
pub(super) fn is_of_tensor(edit: &Edit, name: &str) -> bool {
    matches!(edit.action, "quantize-tensor" | "quantize-dynamic" | "quantize-blocks") && edit.target == name
}

/// Integers in place of a bias.
pub(super) fn bias(bias: &QuantizableBias, parameters: &Parameters, codes: (Vec<u64>, Vec<u8>)) -> Edit {
    let mut edit = edit("quantize-bias", &bias.tensor, parameters, codes);
    edit.arguments.push(("value".to_owned(), bias.value.clone()));
    edit.arguments.extend(bias.copy.clone().map(|copy| ("copy".to_owned(), copy)));
    edit
}

fn edit(
    action: &'static str,
    target: &str,
    parameters: &Parameters,
    (shape, bytes): (Vec<u64>, Vec<u8>),
) -> Edit {
    let list = |texts: Vec<String>| texts.join(",");
    let mut arguments = vec![
        ("scales".to_owned(), list(parameters.scales.iter().map(f32::to_string).collect())),
        ("zero-points".to_owned(), list(parameters.zero_points.iter().map(i32::to_string).collect())),
    ];
    if let Some(axis) = parameters.axis {
        arguments.push(("axis".to_owned(), axis.to_string()));
    }
    if parameters.real == DType::FLOAT16 {
        arguments.push(("real".to_owned(), "float16".to_owned()));
    }
    Edit { action, target: target.to_owned(), arguments, elements: Some((parameters.dtype, shape, bytes)) }
}
