//! The exported program that a model is, or that an eager model is written as before it is changed.

use crate::container::{Archive, deep};
use crate::document::Document;
use crate::{export, open};
use qp_abi::sdk::{BackendError, Edit, ErrorKind, Quantizable, QuantizableOf, ROption, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// The archive of a program.
pub struct Written {
    /// The archive.
    pub archive: Arc<Archive>,
    /// The names of values in it, by those of the eager model that it was written from; empty for a program in a file.
    names: HashMap<String, String>,
}

impl Written {
    /// That of a file that was read, for these changes to it: they may say what the inputs of an eager model look like.
    ///
    /// # Errors
    /// `UnsupportedOp` for files that are no such program and cannot be written as one, `UnsafeFile` for one that would run
    /// code when it is loaded.
    pub fn of(document: &Document, edits: &[Edit]) -> Result<Self> {
        let info = &document.info;
        match (&info.run_obstacle, document.data.archive()) {
            (ROption::RSome(obstacle), _) if obstacle.kind == ErrorKind::UNSAFE_FILE => Err(obstacle.clone()),
            (_, Some(archive)) if info.format == "pt2" => {
                Ok(Self { archive: Arc::clone(archive), names: HashMap::new() })
            }
            // What keeps an eager model from being run keeps it from being written.
            (ROption::RSome(obstacle), _) if info.format == "pickle" => Err(obstacle.clone()),
            (_, Some(_)) if info.format == "pickle" && document.program.is_some() => {
                let export::Composed { archive, names } = export::composed(document, &shapes(edits))?;
                Ok(Self { archive: Arc::new(archive), names })
            }
            _ => Err(BackendError::unsupported_op(
                "only exported programs (`torch.export.save`) and float eager models are changed and written",
            )
            .with_help(
                "Export the model in Python: \
                     `torch.export.save(torch.export.export(model.eval(), (example,)), \"model.pt2\")`.",
            )),
        }
    }

    /// The program with changes to it.
    ///
    /// # Errors
    /// Those of [`export::edited`] and of reading what it gives.
    pub fn edited(&self, edits: &[Edit]) -> Result<Document> {
        let edits: Vec<Edit> = edits.iter().map(|edit| self.in_graph(edit)).collect();
        open::read_edited(export::edited(&self.archive, &edits)?)
    }

    /// A change with the names that values have in the graph.
    fn in_graph(&self, edit: &Edit) -> Edit {
        let mut edit = edit.clone();
        let renamed = |name: &str| self.names.get(name).map(|name| name.as_str().into());
        if let Some(name) = renamed(&edit.target) {
            edit.target = name;
        }
        for pair in edit.arguments.iter_mut().filter(|pair| pair.0 == "same-as") {
            if let Some(name) = renamed(&pair.1) {
                pair.1 = name;
            }
        }
        edit
    }

    /// What of it can be quantized, by the names of the model in the file.
    ///
    /// # Errors
    /// Those of [`export::quantizable`]; `UnsupportedOp` for a value that has no name in the file.
    pub fn quantizable(&self, document: &Document, of: &QuantizableOf) -> Result<Quantizable> {
        if self.names.is_empty() {
            return export::quantizable(&self.archive, &document.info, of);
        }
        let read = open::read_edited((*self.archive).clone())?;
        let mut plan = deep(|| export::quantizable(&self.archive, &read.info, of))?;
        let own: HashMap<&str, &str> =
            self.names.iter().map(|(own, graph)| (graph.as_str(), own.as_str())).collect();
        let unnamed = |name: &str| {
            BackendError::unsupported_op(format!(
                "the file has no name for the value `{name}`, which would get codes"
            ))
            .with_help("Leave out `--as-is`.")
        };
        for value in &mut plan.values {
            for name in [Some(&mut value.name), value.same_as.as_mut(), value.range_of.as_mut()] {
                let Some(name) = name else { continue };
                *name = (*own.get(name.as_str()).ok_or_else(|| unnamed(name))?).to_owned();
            }
        }
        Ok(plan)
    }
}

/// The shapes of samples of inputs, by their names: the arguments `shape:INPUT` of changes.
fn shapes(edits: &[Edit]) -> HashMap<&str, Vec<i64>> {
    let arguments = edits.iter().flat_map(|edit| edit.arguments.iter());
    let shapes = arguments.filter_map(|pair| {
        let name = pair.0.strip_prefix("shape:")?;
        let sizes = pair.1.split(',').filter(|size| !size.is_empty());
        Some((name, sizes.map(|size| size.parse().ok()).collect::<Option<Vec<i64>>>()?))
    });
    shapes.collect()
}
