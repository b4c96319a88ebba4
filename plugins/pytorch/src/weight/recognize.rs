//! Which weights the tensors of a file make up.

use super::{Tensors, Weight, bitsandbytes, compressed, gptq, microscaling};
use qp_abi::sdk::Result;
use std::collections::HashSet;

/// The weights that the named tensors make up, each of `names` looked at in turn. A tensor belongs to one weight.
///
/// # Errors
/// `CorruptFile` when what describes a weight makes no sense.
pub fn recognize(tensors: &Tensors<'_>, names: &[&str]) -> Result<Vec<Weight>> {
    let mut weights = Vec::new();
    let mut taken: HashSet<String> = HashSet::new();
    for name in names {
        let found = match bitsandbytes::recognize(tensors, name)? {
            Some(weight) => Some(weight),
            None => gptq::recognize(tensors, name)?
                .or_else(|| compressed::recognize(tensors, name))
                .or_else(|| microscaling::recognize(tensors, name)),
        };
        if let Some(weight) = found
            && taken.insert(weight.codes_name.clone())
        {
            weights.push(weight);
        }
    }
    Ok(weights)
}
