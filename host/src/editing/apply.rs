//! Changes and the session: making one, leaving some out, going back and forth.

use super::line::{self, Action};
use super::plan::Planner;
use crate::backend::Progress;
use crate::error::{Error, Result};
use crate::inspect::pairing::tensors;
use crate::model::{TensorInfo, find_layer};
use crate::playground::{Change, Changes, Loaded, Playground, Step};
use std::sync::Arc;

/// A model that was changed, and by what.
pub struct Changed {
    /// The model as it is now.
    pub model: Arc<Loaded>,
    /// The change.
    pub change: Arc<Change>,
}

/// A model with one more change, not kept yet.
pub struct Prepared {
    base: Arc<Loaded>,
    changed: Arc<Loaded>,
    changes: Changes,
}

impl Prepared {
    /// The model with the change.
    pub fn model(&self) -> &Loaded {
        &self.changed
    }

    /// The last change.
    pub fn change(&self) -> Option<&Arc<Change>> {
        self.changes.last()
    }

    /// Lets the session have the changed model while `work` is done; the session is as before afterwards.
    pub fn lend<T>(self, playground: &mut Playground, work: impl FnOnce(&mut Playground) -> T) -> (T, Self) {
        let Self { base, changed, changes } = self;
        let (result, changed) = playground.lend_changes(&base, changed, &changes, work);
        (result, Self { base, changed, changes })
    }

    /// Makes the changed model the session's.
    pub fn keep(self, playground: &mut Playground) -> Arc<Loaded> {
        playground.keep_changes(&self.base, self.changed, self.changes, Step::New)
    }
}

/// A model with one more change.
///
/// # Errors
/// Those of planning; the session stays as it is.
pub fn prepare(
    playground: &mut Playground,
    model: &Loaded,
    change: &line::Change,
    progress: &dyn Progress,
) -> Result<Prepared> {
    let changes: Changes =
        playground.variant(&model.path).map(|variant| variant.changes().to_vec()).unwrap_or_default();
    // Turning a layer on again is to leave out what turned it off.
    if let Action::Quantized(true) = change.action {
        let layer = find_layer(&change.target, model.info())?.path.clone();
        let off = line::Change { target: layer.clone(), action: Action::Quantized(false) }.to_string();
        if changes.iter().any(|change| change.line == off) {
            let kept = changes.iter().filter(|change| change.line != off).cloned().collect::<Vec<_>>();
            return again(playground, model, &kept, progress);
        }
    }
    let base = playground.base_of(model, progress)?;
    let reference = float_variant(playground, &base);
    let planner = Planner::new(&base, reference.as_deref());
    let planned = planner.plan(change, model, progress)?;
    let changes: Changes = changes.into_iter().chain([Arc::new(planned)]).collect();
    let changed = Arc::new(playground.changed(&base, &changes, progress)?);
    Ok(Prepared { base, changed, changes })
}

/// Makes a change.
///
/// # Errors
/// As [`prepare`].
pub fn make(
    playground: &mut Playground,
    model: &Loaded,
    change: &line::Change,
    progress: &dyn Progress,
) -> Result<Changed> {
    let prepared = prepare(playground, model, change, progress)?;
    let is_on = change.action == Action::Quantized(true);
    let made = prepared.change().filter(|_| !is_on).cloned().unwrap_or_else(|| {
        let effect = "quantized as in the file".to_owned();
        Arc::new(Change { line: change.to_string(), effect, ..Change::default() })
    });
    let model = prepared.keep(playground);
    Ok(Changed { model, change: made })
}

/// The model with these changes alone, each made anew on the model as its file has it.
///
/// # Errors
/// As [`prepare`].
pub fn again(
    playground: &mut Playground,
    model: &Loaded,
    changes: &[Arc<Change>],
    progress: &dyn Progress,
) -> Result<Prepared> {
    let base = playground.base_of(model, progress)?;
    let reference = float_variant(playground, &base);
    let planner = Planner::new(&base, reference.as_deref());
    let mut made: Changes = Vec::new();
    let mut changed = Arc::new(playground.changed(&base, &made, progress)?);
    for change in changes {
        let planned = planner.plan(&line::Change::parse(&change.line)?, &changed, progress)?;
        made.push(Arc::new(planned));
        changed = Arc::new(playground.changed(&base, &made, progress)?);
    }
    Ok(Prepared { base, changed, changes: made })
}

/// Goes back to before the last change, or forward again.
///
/// # Errors
/// `State` when there is nothing to undo or redo.
pub fn step(
    playground: &mut Playground,
    model: &Loaded,
    step: Step,
    progress: &dyn Progress,
) -> Result<Arc<Loaded>> {
    let nothing = |what: &str| Error::state(format!("nothing to {what} in `{}`", model.id));
    let variant = playground.variant(&model.path).ok_or_else(|| nothing("undo"))?;
    let changes = match step {
        Step::Redo => variant.later().cloned().ok_or_else(|| nothing("redo"))?,
        _ => variant.earlier().cloned().ok_or_else(|| nothing("undo"))?,
    };
    let base = playground.base_of(model, progress)?;
    let changed = Arc::new(playground.changed(&base, &changes, progress)?);
    Ok(playground.keep_changes(&base, changed, changes, step))
}

/// The loaded float variant of the same network: by its name, otherwise by its weights.
pub fn float_variant(playground: &Playground, base: &Loaded) -> Option<Arc<Loaded>> {
    let is_float = |other: &&Arc<Loaded>| other.path != base.path && other.info().scheme.is_none();
    let is_named_so = |other: &&Arc<Loaded>| is_float(other) && other.family == base.family;
    // One of the same format has the same layout.
    let of_same_format = |other: &&Arc<Loaded>| other.session.plugin().id == base.session.plugin().id;
    let named = || playground.loaded().filter(is_named_so);
    let found = named().find(of_same_format).or_else(|| named().next());
    found.or_else(|| playground.loaded().filter(is_float).find(|other| has_its_weights(base, other))).cloned()
}

/// Whether a float model has most of the weights that are codes in this one, by name or place, in the same shapes.
fn has_its_weights(base: &Loaded, float: &Loaded) -> bool {
    let is_weight = |tensor: &TensorInfo| tensor.quantization.is_some() && !tensor.dtype.is_float();
    let wanted = base.info().tensors.iter().filter(|tensor| is_weight(tensor)).count();
    let pairs = tensors(base.info(), float.info()).pairs;
    let found = pairs.iter().filter(|pair| {
        let (codes, real) = (pair.reference.tensor, pair.candidate.tensor);
        is_weight(codes) && real.dtype.is_float() && real.element_count() == codes.element_count()
    });
    wanted > 0 && 2 * found.count() > wanted
}
