//! What several commands share: finding a layer, drawing a histogram.

use crate::catalog::name::nearest;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{LayerInfo, ModelInfo};
use crate::playground::Loaded;
use crate::render::chart::Chart;
use crate::render::record::{Field, Record, Unit};
use crate::render::report::Table;
use crate::render::style::Tone;

/// The layer of that path, or the only one whose path ends so.
pub(super) fn find_layer<'a>(text: &str, info: &'a ModelInfo) -> Result<&'a LayerInfo> {
    if let Some(layer) = info.layer(text) {
        return Ok(layer);
    }
    let ends_so = |layer: &&LayerInfo| {
        layer.path.strip_suffix(text).is_some_and(|before| before.ends_with(['.', '/', ':']))
    };
    let fitting: Vec<&LayerInfo> = info.layers.iter().filter(ends_so).collect();
    match fitting[..] {
        [one] => Ok(one),
        [] => {
            let error = Error::not_found(format!("there is no layer `{text}`"));
            let paths = info.layers.iter().map(|layer| layer.path.as_str());
            Err(match nearest(text, paths) {
                Some(near) => error.with_hint(format!("Did you mean `{near}`? `layers` lists all.")),
                None => error.with_hint("`layers` lists them."),
            })
        }
        [..] => {
            let paths: Vec<_> = fitting.iter().take(8).map(|layer| format!("`{}`", layer.path)).collect();
            Err(Error::new(ErrorKind::Ambiguous, format!("`{text}` matches {} layers", fitting.len()))
                .with_hint(format!("Choose one of {}.", paths.join(", "))))
        }
    }
}

/// Checks that what a model's layers compute can be captured.
pub(super) fn can_be_captured(model: &Loaded) -> Result<()> {
    model.runnable()?;
    let manifest = model.session.plugin();
    if manifest.has_feature("capture") {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UnsupportedOp,
        format!("the backend `{}` of `{}` cannot capture what layers compute", manifest.id, model.id),
    )
    .with_hint("Compare ONNX models; see the features in `backends info`."))
}

/// Whether changed forms of a model can be made.
pub(super) fn can_be_edited(model: &Loaded) -> bool {
    model.session.plugin().has_feature("edit")
}

/// One bin of a histogram.
pub(super) struct Bin {
    low: f64,
    high: f64,
    count: u64,
    /// Its share of the fullest bin.
    share: f64,
    is_marked: bool,
}

impl Record for Bin {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("from", Unit::Real, "Lower edge of the bin, included", |bin| bin.low).title("from"),
            Self::field("to", Unit::Real, "Upper edge of the bin, included only in the last", |bin| bin.high)
                .title("to"),
            Self::field("count", Unit::Count, "Values in the bin", |bin| bin.count).title("count"),
            Self::chart("Bar of the count, full at the fullest bin", |bin| Some(Chart::Bar(bin.share)))
                .tone(|bin| if bin.is_marked { Tone::Good } else { Tone::Dim }),
        ]
    }
}

/// A row with a bar for each bin; those that are `marked` are green.
pub(super) fn histogram_table(edges: &[f64], counts: &[u64], marked: impl Fn(f64, f64) -> bool) -> Table {
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let bins: Vec<Bin> = edges
        .windows(2)
        .zip(counts)
        .map(|(edges, &count)| Bin {
            low: edges[0],
            high: edges[1],
            count,
            share: count as f64 / most,
            is_marked: marked(edges[0], edges[1]),
        })
        .collect();
    Table::of(&bins)
}
