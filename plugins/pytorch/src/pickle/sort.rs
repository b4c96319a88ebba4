//! What calls of listed names give.

use super::list::{self, Form, Sort};
use super::value::{Global, Object, Pickle};

/// What an object is; `None` for what is not an object of a listed class or function.
pub(super) fn of_object(pickle: &Pickle, object: &Object) -> Option<Sort> {
    of_call(pickle.callable(object)?)
}

/// What a call of `global` gives; `None` for a name that is not on the list.
pub(super) fn of_call(global: &Global) -> Option<Sort> {
    Some(match list::form(global)? {
        Form::Call(signature) => signature.result,
        Form::Enum => Sort::Data,
        Form::Own => result(global),
        _ => Sort::Any,
    })
}

/// What a call of `global`, which is harmless in a form of its own, gives.
fn result(global: &Global) -> Sort {
    match (global.module.as_str(), global.name.as_str()) {
        ("_codecs", "encode") | ("builtins", "bytearray" | "type") => Sort::Data,
        ("collections", "defaultdict") => Sort::Mapping,
        ("numpy", "dtype") => Sort::ElementType,
        (_, "_reconstruct") => Sort::Array,
        (_, "scalar") => Sort::Data,
        ("torch", "ScriptObject") => Sort::Packed,
        ("torch._tensor", _) => Sort::Tensor,
        ("torch.storage", "_load_from_bytes") => Sort::Loaded,
        _ => Sort::Any,
    }
}
