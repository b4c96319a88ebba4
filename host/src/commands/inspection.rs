//! What the commands that look inside share: finding a layer.

use crate::catalog::name::nearest;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{LayerInfo, ModelInfo};

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
