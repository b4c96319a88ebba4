//! One file on several native runtimes, layer by layer.

use super::declaration::{LayerRow, Variation};
use super::{LEVELS, options};
use crate::backend::{Fetch, Progress};
use crate::capture::real::Real;
use crate::capture::{Feed, Side};
use crate::error::Result;
use crate::model::{LayerInfo, Tensor};
use crate::playground::{Loaded, Playground};
use std::collections::HashMap;

/// The model once for each of these runtimes.
pub(super) fn on_runtimes(
    model: &Loaded,
    runtimes: &[String],
    playground: &Playground,
    progress: &dyn Progress,
) -> Result<Vec<(String, Loaded)>> {
    let plugin = model.session.plugin().id.as_str();
    let on = |name: &String| {
        let runtime = playground.path(name);
        let session = playground.backends.open_on(plugin, &model.path, &runtime, progress)?;
        Ok((name.clone(), playground.in_memory(model, session, &model.path)))
    };
    runtimes.iter().map(on).collect()
}

/// What other runtimes compute differently from the first, on the first sample.
pub(super) fn layers(
    others: &[(String, Loaded)],
    feed: Feed<'_>,
    progress: &dyn Progress,
) -> Result<Vec<LayerRow>> {
    let Some(((_, first), rest)) = others.split_first() else { return Ok(Vec::new()) };
    if !first.session.plugin().has_feature("capture") {
        return Ok(Vec::new());
    }
    let feed = Feed { batch: 1, samples: Some(1), ..feed };
    let computed = |model: &Loaded| -> Result<Vec<Tensor>> {
        let as_written = Variation {
            runtime: None,
            optimization: model.session.plugin().has_feature("optimization").then_some(LEVELS[0]),
            threads: 1,
            qengine: None,
            precision: None,
        };
        let side = Side::new(model, None, options(&as_written, model));
        match feed.batches(&[&side])?.next() {
            Some((_, batch)) => Ok(side.run(&batch, &Fetch::Layers, progress)?.tensors),
            None => Ok(Vec::new()),
        }
    };
    let expected = computed(first)?;
    let mut rows = Vec::new();
    for (name, other) in rest {
        let found: HashMap<String, Tensor> =
            computed(other)?.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        for tensor in &expected {
            let Some(other) = found.get(&tensor.name) else { continue };
            let computes =
                |layer: &&LayerInfo| layer.outputs.contains(&tensor.name) && !layer.kind.is_plumbing();
            let Some(layer) = first.info().layers.iter().find(computes) else { continue };
            let difference = difference(&Real::of(tensor, None)?, &Real::of(other, None)?);
            if difference.differing > 0 {
                rows.push(LayerRow {
                    layer: layer.path.clone(),
                    op_type: layer.op_type.clone(),
                    runtime: name.clone(),
                    differing: difference.differing,
                    elements: difference.elements,
                    max_abs_difference: difference.largest,
                });
            }
        }
    }
    Ok(rows)
}

/// How elements differ.
#[derive(Default)]
pub(super) struct Difference {
    pub(super) differing: u64,
    pub(super) elements: u64,
    pub(super) largest: f64,
}

pub(super) fn difference(expected: &Real<'_>, found: &Real<'_>) -> Difference {
    let mut difference = Difference::default();
    expected.each_pair(found, |expected, found| {
        for (expected, found) in expected.iter().zip(found) {
            difference.elements += 1;
            if expected != found && !(expected.is_nan() && found.is_nan()) {
                difference.differing += 1;
                difference.largest = difference.largest.max((expected - found).abs());
            }
        }
    });
    difference
}
