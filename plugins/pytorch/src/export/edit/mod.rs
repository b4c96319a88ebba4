//! Changes to an exported program in memory: its graph in JSON, and the tensors that it stores.
//!
//! | action | target | does |
//! |---|---|---|
//! | `prepare` | – | folds batch normalizations into convolutions, removes layers that only pass on; `shape:INPUT` is the shape of a sample, for eager models |
//! | `quantize-value` | a value | lets all nodes read it rounded to codes of `dtype` and back, with `scales` and `zero-points` (one each), or those of the value or tensor `same-as`; what the program returns stays as it is |
//! | `quantize-tensor` | a stored tensor | stores these codes in its place, with `scales` and `zero-points`, along `axis` if there are several; readers that take no codes, such as an embedding, keep the real numbers |
//! | `set-quantization` | a value, or stored codes | gives the codes `scales` and `zero-points` (one for all, or as many as there are), wherever the graph makes or reads them; a stored scale that other codes share is copied |
//! | `replace` | a stored tensor | gives it other elements, of the same type and shape |
//! | `store` | a new name | adds a stored tensor with the given elements |
//! | `unquantize` | a value | lets the layer that computes it read real numbers: what was rounded for it, or, in place of the stored codes C, the stored tensor that `real:C` names; readers that compute with real numbers get the value unrounded |
//! | `convert` | – | to `float`: nothing is rounded any more, and stored codes become the real numbers that they stand for |
//!
//! The graph gets the form that PT2E writes: operators of `quantized_decomposed`, weights as stored codes, biases in float.

mod convert;
mod editor;
mod parameters;
mod prepare;
mod save;
mod store;
mod tensor;
mod unquantize;
mod value;

use super::json;
use super::layout::Layout;
use super::region;
use super::weights::{self, Weights};
use crate::container::Archive;
use crate::tensor::Data;
pub use editor::meta;
pub use save::{WHOLE, row};
pub use store::Fresh;

use editor::Editor;
use parameters::Affine;
use qp_abi::sdk::{BackendError, Edit, Result, lookup};
use serde_json::Value;
use std::sync::Arc;

/// A program that can be changed.
pub struct Editable {
    pub layout: Layout,
    /// The JSON of the program, with the nodes of regions in its graph.
    pub program: Value,
    pub weights: Weights,
    pub data: Data,
}

impl Editable {
    /// Reads the program in an archive.
    ///
    /// # Errors
    /// `UnsupportedOp` for an archive without a program, and for weights in forms of their own; those of reading it.
    pub fn read(archive: &Arc<Archive>) -> Result<Self> {
        let Some(layout) = Layout::of(archive) else {
            return Err(BackendError::unsupported_op(
                "the package holds no exported program that could be changed",
            ));
        };
        let mut program = json::parse(archive, &layout.graph())?;
        let mut data = Data::of_archive(Arc::clone(archive));
        let weights = weights::read(archive, &layout, &mut data)?;
        if let Some(subclass) = weights.subclasses.first() {
            return Err(BackendError::unsupported_op(format!(
                "`{}` is a tensor of torchao's, which packs its codes in a form of its own",
                subclass.name.escape_debug()
            ))
            .with_help("Quantize the float program instead."));
        }
        if let Some(module) = program.get_mut("graph_module") {
            region::inline(module);
        }
        Ok(Self { layout, program, weights, data })
    }

    /// The graph module.
    pub fn module(&self) -> &Value {
        self.program.get("graph_module").unwrap_or(&Value::Null)
    }
}

/// The archive with changes to its program: new entries over those of the file.
///
/// # Errors
/// `NotFound` for a target that does not exist, `InvalidInput` for arguments that make no sense, `UnsupportedOp` for an
/// unknown action, and for what the program cannot express.
pub fn apply(archive: &Arc<Archive>, edits: &[Edit]) -> Result<Archive> {
    let mut editable = Editable::read(archive)?;
    let mut editor = Editor::of(&mut editable)?;
    for edit in edits {
        match edit.action.as_str() {
            "prepare" => editor.prepare()?,
            "quantize-value" => editor.quantize_value(edit)?,
            "quantize-tensor" => editor.quantize_tensor(edit)?,
            "set-quantization" => editor.set_quantization(edit)?,
            "replace" => editor.replace(edit)?,
            "store" => editor.store_tensor(edit)?,
            "unquantize" => editor.unquantize(edit)?,
            "convert" => editor.convert(edit)?,
            other => {
                return Err(BackendError::unsupported_op(format!(
                    "unknown change `{other}` to an exported program"
                ))
                .with_help(
                    "The changes are `prepare`, `quantize-value`, `quantize-tensor`, `set-quantization`, `replace`, \
                     `store`, `unquantize` and `convert`.",
                ));
            }
        }
    }
    let changed = editor.finish();
    save::archive(archive, &editable, changed)
}

/// An argument of an edit that must be there.
fn needed<'e>(edit: &'e Edit, name: &str) -> Result<&'e str> {
    let missing = || BackendError::invalid_input(format!("`{}` needs the argument `{name}`", edit.action));
    lookup(edit.arguments.as_slice(), name).ok_or_else(missing)
}

/// Numbers in a list with commas.
fn numbers(edit: &Edit, name: &str) -> Result<Vec<f64>> {
    let text = needed(edit, name)?;
    let wrong = |text: &str| {
        BackendError::invalid_input(format!("`{}` is not a number in `{name}`", text.escape_debug()))
    };
    text.split(',').map(|one| one.trim().parse::<f64>().map_err(|_| wrong(one))).collect()
}

impl Affine {
    /// The `scales` and `zero-points` of an edit, and its `axis`.
    fn of(edit: &Edit) -> Result<Self> {
        let axis = match lookup(edit.arguments.as_slice(), "axis") {
            None => None,
            Some(text) => Some(text.parse::<usize>().map_err(|_| {
                BackendError::invalid_input(format!("the axis `{}` is not a number", text.escape_debug()))
            })?),
        };
        Self::new(numbers(edit, "scales")?, &numbers(edit, "zero-points")?, edit.dtype, axis, &edit.target)
    }
}
