//! The code of a layer, as the request `code/1` answers it.

use qp_abi::sdk::{BackendError, Result};
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    /// The path of the layer; empty for the model itself.
    #[serde(default)]
    pub layer: String,
}

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

impl Wanted {
    /// Reads the payload of a request.
    ///
    /// # Errors
    /// `InvalidInput` when it is of another form.
    pub fn read(payload: &str) -> Result<Self> {
        serde_json::from_str(payload).map_err(|error| {
            BackendError::invalid_input("the payload of `code/1` is no object with a `layer`")
                .with_cause(error.to_string())
        })
    }
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
