//! Layers turned off, or given more bits, together: planned once each, combined in any set.

use super::apply::float_variant;
use super::line::{Action, Change};
use super::plan::Planner;
use crate::backend::{Edit, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::playground::{self, Changes, Loaded, Playground, Step};
use std::collections::HashSet;
use std::sync::Arc;

/// Bits of a real number.
const FLOAT_BITS: u32 = 32;

/// The layers of a model that can be switched, to real numbers or to more bits, each with what does it.
pub struct Switches {
    base: Arc<Loaded>,
    /// Changes that the model has already.
    before: Changes,
    /// By layer, in the order of the graph.
    pub layers: Vec<Switch>,
}

/// A layer that can be switched.
pub struct Switch {
    /// Its path.
    pub layer: String,
    /// Its operator.
    pub op_type: String,
    /// Elements of its weights; 0 if it has none.
    pub parameters: u64,
    /// Bytes that its weights take more when it is switched.
    pub more_bytes: u64,
    change: Arc<playground::Change>,
}

impl Switches {
    /// Plans every quantized layer of the model that computes something; those that cannot be switched are left out. Without
    /// `bits`, layers are switched to real numbers.
    ///
    /// # Errors
    /// `UnsupportedOp` if the backend changes no models; `Cancelled`.
    pub fn of(
        playground: &mut Playground,
        model: &Loaded,
        bits: Option<u32>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        model.session.require_edits()?;
        let base = playground.base_of(model, progress)?;
        let before: Changes =
            playground.variant(&model.path).map(|variant| variant.changes().to_vec()).unwrap_or_default();
        let reference = float_variant(playground, &base);
        let planner = Planner::new(&base, reference.as_deref());
        let info = model.info();
        let quantized: Vec<_> = info
            .layers
            .iter()
            .filter(|layer| layer.quantization.is_some() && !layer.kind.is_plumbing() && !layer.is_inner)
            .filter(|layer| layer.kind.computes_activations())
            .collect();
        let (mut layers, mut reason) = (Vec::new(), None);
        for (done, layer) in quantized.iter().enumerate() {
            progress.update("looking at layers", done as u64, quantized.len() as u64);
            let action = bits.map_or(Action::Quantized(false), Action::Bits);
            let change = Change { target: layer.path.clone(), action };
            let change = match planner.plan(&change, model, progress) {
                Ok(planned) => Arc::new(planned),
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    reason.get_or_insert(error);
                    continue;
                }
            };
            let weights = layer.weights.iter().filter_map(|used| info.tensor(&used.tensor));
            let quantized = weights.filter(|tensor| tensor.is_quantized() && !tensor.dtype.is_float());
            let (mut parameters, mut more_bytes) = (0, 0);
            for tensor in quantized {
                parameters += tensor.element_count();
                let bytes = tensor.element_count() * u64::from(bits.unwrap_or(FLOAT_BITS)) / 8;
                more_bytes += bytes.saturating_sub(tensor.bytes);
            }
            layers.push(Switch {
                layer: layer.path.clone(),
                op_type: layer.op_type.clone(),
                parameters,
                more_bytes,
                change,
            });
        }
        let mut switches = Self { base, before, layers };
        // What the backend refuses is only known when it is tried.
        let all: Vec<usize> = (0..switches.layers.len()).collect();
        let mut refused = Vec::new();
        if switches.model(playground, &all, progress).is_err() {
            for place in all {
                match switches.model(playground, &[place], progress) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                    Err(error) => {
                        reason.get_or_insert(error);
                        refused.push(place);
                    }
                }
            }
        }
        for place in refused.into_iter().rev() {
            switches.layers.remove(place);
        }
        match switches.layers.is_empty() {
            true => {
                let what = bits.map_or("turned off".to_owned(), |bits| format!("given {bits} bits"));
                let error = Error::invalid_input(format!("no layer of `{}` can be {what}", model.id));
                Err(match reason {
                    Some(reason) => error.with_cause(reason.to_string()),
                    None => error.with_hint("`layers` shows which are quantized, and how."),
                })
            }
            false => Ok(switches),
        }
    }

    /// The model with these layers switched.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn model(
        &self,
        playground: &Playground,
        switched: &[usize],
        progress: &dyn Progress,
    ) -> Result<Loaded> {
        playground.changed(&self.base, &self.changes(switched), progress)
    }

    /// Makes the model with these layers switched the session's.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn keep(
        &self,
        playground: &mut Playground,
        switched: &[usize],
        progress: &dyn Progress,
    ) -> Result<Arc<Loaded>> {
        let changed = Arc::new(self.model(playground, switched, progress)?);
        Ok(playground.keep_changes(&self.base, changed, self.changes(switched), Step::New))
    }

    fn changes(&self, switched: &[usize]) -> Changes {
        let mut places = switched.to_vec();
        places.sort_unstable();
        // Layers that share a weight store it once.
        let mut stored: HashSet<String> = self
            .before
            .iter()
            .flat_map(|change| &change.edits)
            .filter(|edit| edit.action == "store")
            .map(|edit| edit.target.clone())
            .collect();
        let mut changes = self.before.clone();
        for switch in places.into_iter().filter_map(|place| self.layers.get(place)) {
            let mut change = (*switch.change).clone();
            // Other layers of the set may have left it nothing that is rounded, or so coarsely.
            let switches = |edit: &&mut Edit| matches!(edit.action, "unquantize" | "widen");
            for edit in change.edits.iter_mut().filter(switches) {
                edit.arguments.push(("if-any".to_owned(), "true".to_owned()));
            }
            change.edits.retain(|edit| edit.action != "store" || stored.insert(edit.target.clone()));
            changes.push(Arc::new(change));
        }
        changes
    }
}
