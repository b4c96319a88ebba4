//! What the commands that look inside share: finding a layer, and the codes of a stored tensor.

use crate::backend::Progress;
use crate::catalog::name::nearest;
use crate::error::{Error, ErrorKind, Result};
use crate::input::element_type;
use crate::model::{LayerInfo, ModelInfo, TensorChunk, TensorInfo};
use crate::playground::Loaded;
use qp_analysis::CodeUsage;

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

/// The codes that occur in a stored tensor; `None` for types without codes.
pub(super) fn code_usage(
    model: &Loaded,
    tensor: &TensorInfo,
    progress: &dyn Progress,
) -> Result<Option<CodeUsage>> {
    let Some(mut usage) = element_type(tensor.dtype).and_then(CodeUsage::new) else { return Ok(None) };
    let mut add = |chunk: TensorChunk<'_>| {
        usage.add_elements(chunk.bytes, usize::try_from(chunk.elements).unwrap_or(usize::MAX));
        if progress.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    };
    model.session.read_tensor(&tensor.name, &mut add, progress)?;
    Ok(Some(usage))
}
