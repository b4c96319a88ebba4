//! What the commands that look inside share: finding a layer, drawing a histogram.

use crate::catalog::name::nearest;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{LayerInfo, ModelInfo};
use crate::playground::Loaded;
use crate::render::chart::Chart;
use crate::render::report::{Cell, Column, Table};
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
            let error = Error::not_found(format!("no layer is called `{text}`"));
            let paths = info.layers.iter().map(|layer| layer.path.as_str());
            Err(match nearest(text, paths) {
                Some(near) => error.with_hint(format!("Did you mean `{near}`? See `layers` for all.")),
                None => error.with_hint("See `layers` for what there is."),
            })
        }
        [..] => {
            let paths: Vec<_> = fitting.iter().take(8).map(|layer| format!("`{}`", layer.path)).collect();
            Err(Error::new(ErrorKind::Ambiguous, format!("`{text}` fits {} layers", fitting.len()))
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

/// A row for each bin with a bar; those that are `marked` are green.
pub(super) fn histogram_table(edges: &[f64], counts: &[u64], marked: impl Fn(f64, f64) -> bool) -> Table {
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let mut table = Table::new([
        Column::number("from"),
        Column::number("to"),
        Column::number("count"),
        Column::chart(""),
    ]);
    for (edges, count) in edges.windows(2).zip(counts) {
        let tone = if marked(edges[0], edges[1]) { Tone::Good } else { Tone::Dim };
        table.row([
            Cell::real(edges[0]),
            Cell::real(edges[1]),
            Cell::count(*count),
            Cell::chart(Chart::Bar(*count as f64 / most)).tone(tone),
        ]);
    }
    table
}
