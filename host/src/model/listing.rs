//! What a layer computes, as its file writes it.

use serde::Deserialize;

/// The code of a layer, or of a whole model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listing {
    /// The language: `TorchScript`.
    pub language: String,
    /// The path of the layer that the code is of: that which was asked for, or the one that holds it; empty for the
    /// model itself.
    #[serde(default)]
    pub layer: String,
    /// The class or function that the code is of, by its full name; empty for none.
    #[serde(default)]
    pub class: String,
    /// Its methods, the one that a run calls first.
    #[serde(default)]
    pub methods: Vec<ListedMethod>,
    /// All that it computes, calls of other layers replaced by what they compute; empty if that is not known.
    #[serde(default)]
    pub inlined: Vec<ListedStep>,
}

/// A method of a class.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedMethod {
    /// The name: `forward`.
    pub name: String,
    /// The text, its own indentation taken away.
    pub text: String,
}

/// A line of what is computed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedStep {
    /// The path of the layer that computes it; empty for the model itself.
    #[serde(default)]
    pub layer: String,
    /// How many branches and loops it is within.
    #[serde(default)]
    pub depth: u16,
    /// The line, without indentation.
    pub text: String,
}
