//! Types and shapes as messages and tables write them.

use super::{DType, ValueInfo};

/// `float32 N×32×32×3`: a value's type in messages and tables.
pub fn type_text(value: &ValueInfo) -> String {
    if let Some(name) = &value.type_name {
        return name.clone();
    }
    let dtype = if value.dtype == DType::UNDEFINED { "?".to_owned() } else { value.dtype.to_string() };
    match &value.shape {
        Some(shape) => format!("{dtype} {}", shape_text(shape)),
        None => format!("{dtype} of any shape"),
    }
}

/// `N×32×32×3`; `scalar` without dimensions.
pub fn shape_text(shape: &[impl std::fmt::Display]) -> String {
    if shape.is_empty() {
        return "scalar".to_owned();
    }
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
}
