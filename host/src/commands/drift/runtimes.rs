//! One file on several native runtimes, layer by layer.

use super::declaration::{LayerRow, Variation};
use super::{LEVELS, options};
use crate::backend::{Fetch, Progress};
use crate::capture::real::Real;
use crate::capture::{Feed, Side};
use crate::error::Result;
use crate::model::Tensor;
use crate::playground::{Loaded, Playground};
use std::collections::{BTreeMap, HashMap};

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

/// What other runtimes compute differently from the first, in all samples.
pub(super) fn layers(
    others: &[(String, Loaded)],
    feed: Feed<'_>,
    progress: &dyn Progress,
) -> Result<Vec<LayerRow>> {
    let sides: Vec<Side<'_>> = others.iter().map(|(_, model)| as_written(model)).collect();
    let (Some(((_, model), rest)), Some((first, sides))) = (others.split_first(), sides.split_first()) else {
        return Ok(Vec::new());
    };
    if !model.session.plugin().has_feature("capture") {
        return Ok(Vec::new());
    }
    let layers = &model.info().layers;
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, layer) in layers.iter().enumerate().filter(|(_, layer)| !layer.kind.is_plumbing()) {
        places.extend(layer.outputs.iter().map(|value| (value.as_str(), place)));
    }
    // By runtime and layer; one sample at a time, as both runtimes' values are in memory.
    let mut differences: BTreeMap<(usize, usize), Difference> = BTreeMap::new();
    let batches = Feed { batch: 1, ..feed }.batches(&[first])?;
    let (total, mut done) = (batches.samples(), 0);
    for (samples, batch) in batches {
        progress.update("comparing layers of samples", done, total);
        done += samples;
        let expected = first.run(&batch, &Fetch::Layers, progress)?.tensors;
        for (runtime, side) in sides.iter().enumerate() {
            let found = side.run(&batch, &Fetch::Layers, progress)?.tensors;
            let found: HashMap<&str, &Tensor> =
                found.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
            for tensor in &expected {
                let name = tensor.name.as_str();
                let (Some(place), Some(other)) = (places.get(name), found.get(name)) else { continue };
                let difference = difference(&Real::of(tensor, None)?, &Real::of(other, None)?);
                differences.entry((runtime, *place)).or_default().add(&difference);
            }
        }
    }
    let rows = differences.iter().filter(|(_, difference)| difference.differing > 0);
    let row = |((runtime, place), difference): (&(usize, usize), &Difference)| {
        let (layer, (runtime, _)) = (layers.get(*place)?, rest.get(*runtime)?);
        Some(LayerRow {
            layer: layer.path.clone(),
            op_type: layer.op_type.clone(),
            runtime: runtime.clone(),
            differing: difference.differing,
            elements: difference.elements,
            max_abs_difference: difference.largest,
        })
    };
    Ok(rows.filter_map(row).collect())
}

/// The model with the graph as it is in the file, and one thread.
fn as_written(model: &Loaded) -> Side<'_> {
    let variation = Variation {
        runtime: None,
        optimization: model.session.plugin().has_feature("optimization").then_some(LEVELS[0]),
        threads: 1,
        qengine: None,
        precision: None,
    };
    Side::new(model, None, options(&variation, model))
}

/// How elements differ.
#[derive(Default)]
pub(super) struct Difference {
    pub(super) differing: u64,
    pub(super) elements: u64,
    pub(super) largest: f64,
}

impl Difference {
    fn add(&mut self, other: &Self) {
        self.differing += other.differing;
        self.elements += other.elements;
        self.largest = self.largest.max(other.largest);
    }
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
