//! The inputs of a run.

use qp_abi::sdk::{BackendError, DType, ModelInfo, RSome, Result, RunRequest, TensorView, ValueInfo};
use std::collections::{HashMap, HashSet};

/// The inputs of the request in the order of `forward`, checked before libtorch sees them.
pub(super) fn in_order<'a>(info: &ModelInfo, request: &RunRequest<'a>) -> Result<Vec<TensorView<'a>>> {
    let expected = || {
        let names: Vec<String> = info.inputs.iter().map(|input| format!("`{}`", input.name)).collect();
        format!("The model takes {}.", names.join(", "))
    };
    let known: HashSet<&str> = info.inputs.iter().map(|input| input.name.as_str()).collect();
    let mut given: HashMap<&str, &TensorView<'a>> = HashMap::new();
    for view in request.inputs.as_slice() {
        let name = view.name.as_str();
        if !known.contains(name) {
            return Err(
                BackendError::invalid_input(format!("the model has no input `{name}`")).with_help(expected())
            );
        }
        if given.insert(name, view).is_some() {
            return Err(BackendError::invalid_input(format!("input `{name}` is given twice")));
        }
    }
    let is_there = |input: &&ValueInfo| !input.is_optional || given.contains_key(input.name.as_str());
    let views = info.inputs.iter().filter(is_there).map(|input| {
        let view = *given.get(input.name.as_str()).ok_or_else(|| {
            BackendError::invalid_input(format!("input `{}` is missing", input.name)).with_help(expected())
        })?;
        if input.dtype != DType::UNDEFINED && input.dtype != view.dtype {
            let message =
                format!("input `{}` is {}, the model takes {}", input.name, view.dtype, input.dtype);
            return Err(BackendError::invalid_input(message));
        }
        if let RSome(shape) = &input.shape
            && shape.len() != view.shape.len()
        {
            let message = format!(
                "input `{}` has {} dimensions, the model takes {}",
                input.name,
                view.shape.len(),
                shape.len()
            );
            return Err(BackendError::invalid_input(message));
        }
        Ok(*view)
    });
    views.collect()
}
