//! The code of a layer, as a file has it and as the request `code/1` answers it.

use qp_abi::sdk::{BackendError, Result};
use serde::Serialize;
use std::sync::Arc;

/// The code of a layer, or of the whole model.
#[derive(Debug, Default, Serialize)]
pub struct Listing {
    /// `TorchScript`, `Python`, …
    pub language: &'static str,
    /// The path of the module that the code is of; empty for the root.
    pub layer: String,
    /// Its class by its full name; empty for none.
    pub class: String,
    /// The methods of the class, `forward` first.
    pub methods: Vec<Method>,
    /// All that it computes, calls replaced by what they compute.
    pub inlined: Vec<Step>,
}

/// A method of a class.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Method {
    /// The name.
    pub name: String,
    /// The text without its own indentation.
    pub text: String,
}

/// A line of what is computed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The path of the module that computes it; empty for the root.
    pub layer: String,
    /// How many branches and loops it is within.
    pub depth: u16,
    /// The line without indentation.
    pub text: String,
}

/// The Python source of an fx graph in a pickle.
#[derive(Debug, Clone)]
pub struct GraphCode {
    /// The path of the graph module; empty for the root.
    pub path: String,
    /// Its class.
    pub class: String,
    /// The text of `forward`.
    pub text: Arc<str>,
}

impl Listing {
    /// The answer to the request.
    ///
    /// # Errors
    /// `Internal` when it cannot be written.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            BackendError::internal("a listing cannot be written").with_cause(error.to_string())
        })
    }
}
