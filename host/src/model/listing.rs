//! What a layer computes, as written in its file.

use serde::Deserialize;

/// The code of a layer, or of a whole model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listing {
    /// The language: `TorchScript`.
    pub language: String,
    /// The path of the layer that the code belongs to: the requested one, or the one that holds it; empty for the
    /// model itself.
    #[serde(default)]
    pub layer: String,
    /// The full name of the class or function that the code belongs to; empty if there is none.
    #[serde(default)]
    pub class: String,
    /// Its methods, the one that a run calls first at the front.
    #[serde(default)]
    pub methods: Vec<ListedMethod>,
    /// Everything it computes, with calls of other layers replaced by what they compute; empty if unknown.
    #[serde(default)]
    pub inlined: Vec<ListedStep>,
}

/// A method of a class.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedMethod {
    /// The name: `forward`.
    pub name: String,
    /// The text, without its common indentation.
    pub text: String,
}

/// A line of what is computed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedStep {
    /// The path of the layer that computes it; empty for the model itself.
    #[serde(default)]
    pub layer: String,
    /// How many branches and loops enclose it.
    #[serde(default)]
    pub depth: u16,
    /// The line, without indentation.
    pub text: String,
}
