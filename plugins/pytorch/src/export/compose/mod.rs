//! The archive of `torch.export.save` for a program that eager modules were followed into: a graph with one node for each
//! call, the shapes and types of its values, and the stored tensors. What it gives is read like any exported program.
//!
//! A file of `torch.save` does not say what its inputs look like. Their number of dimensions, channels and types are those
//! that the operators need; sizes that no operator fixes, the batch among them, are symbols, and what follows from them is
//! computed with them. An input that says nothing of its type is float32. Where no operator tells the number of dimensions, that
//! of a sample counts; without any, what a linear layer or an embedding reads first has two, the batch before all.

mod argument;
mod composer;
mod entries;
mod finish;
mod layer;
mod number;
mod schema;
mod shape;
mod size;
mod value;

use crate::container::Archive;
use crate::document::Document;
use composer::Composer;
use qp_abi::sdk::{BackendError, Result};
use std::collections::HashMap;

/// A program that was written.
pub struct Composed {
    /// The archive; entries of the file that it was made from are not in it.
    pub archive: Archive,
    /// The names in the graph of the values, by those that they have in the description of the eager model.
    pub names: HashMap<String, String>,
}

/// Writes the program of an eager model. `samples` are the shapes of samples of its inputs, by name, as far as they are known.
///
/// # Errors
/// `UnsupportedOp` for what cannot be written: quantized tensors, operators without a schema here, inputs of which nothing
/// says how many dimensions they have. Those of reading stored tensors.
pub fn archive(document: &Document, samples: &HashMap<&str, Vec<i64>>) -> Result<Composed> {
    let (Some(program), Some(archive)) = (&document.program, document.data.archive()) else {
        return Err(unsupported("the file does not say what the model computes"));
    };
    let mut composer = Composer::new(document, program, samples)?;
    for call in &program.calls {
        composer.call(call)?;
    }
    let graph = composer.finish()?;
    let names = graph.names.clone();
    Ok(Composed { archive: entries::archive(document, archive, &graph)?, names })
}

/// The error of a program that cannot be written.
fn unsupported(message: impl Into<String>) -> BackendError {
    BackendError::unsupported_op(message).with_help(
        "Export the model in Python: \
         `torch.export.save(torch.export.export(model.eval(), (example,)), \"model.pt2\")`.",
    )
}
