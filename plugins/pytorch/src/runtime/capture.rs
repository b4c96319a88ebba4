//! A model that the engine has opened, and the values it can deliver.

use super::inputs::in_order;
use qp_abi::abi_stable::RMut;
use qp_abi::abi_stable::sabi_trait::TD_Opaque;
use qp_abi::abi_stable::std_types::{RSlice, RString};
use qp_abi::sdk::{
    BackendError, Fetch, ModelInfo, Progress, Result, RunReport, RunRequest, Sink, TensorView,
};
use qp_abi::sink::{FnSink, TensorSink_TO};
use qp_pytorch_contract::{ModelBox, engine};
use std::collections::{HashMap, HashSet};

/// A model as the engine has prepared it.
pub struct Prepared {
    pub(super) model: ModelBox,
    /// The values of layers that the engine delivers under the same name, in the order of execution.
    pub(super) values: Vec<RString>,
}

/// The values that stand for the same in what was read and in what libtorch computes, in the order of execution. Both
/// sides number the calls of one operator, or of one module; where they do not count the same calls, no number is to be
/// trusted.
pub fn values(read: &ModelInfo, computed: &[RString]) -> Vec<RString> {
    let known = with_parts(read);
    let of_read: Vec<RString> = known.iter().map(|(name, _)| (*name).clone()).collect();
    let (read_families, computed_families) = (families(&of_read), families(computed));
    // The engine knows the layers; how many tensors each of them computes is known from the code.
    let known: HashMap<&RString, Vec<&RString>> = known.into_iter().collect();
    let is_sure = |name: &RString| read_families.get(stem(name)) == computed_families.get(stem(name));
    computed
        .iter()
        .filter(|name| is_sure(name))
        .filter_map(|name| known.get(name))
        .flat_map(|parts| parts.iter().map(|name| (*name).clone()))
        .collect()
}

/// The values that layers compute, each with itself and its parts: `split`, `split:1`.
fn with_parts(info: &ModelInfo) -> Vec<(&RString, Vec<&RString>)> {
    let mut values: Vec<(&RString, Vec<&RString>)> = Vec::new();
    for layer in &info.layers {
        let start = values.len();
        for output in &layer.outputs {
            let first = values.get_mut(start).filter(|(first, _)| {
                output.strip_prefix(first.as_str()).is_some_and(|rest| rest.starts_with(':'))
            });
            match first {
                Some((_, parts)) => parts.push(output),
                None => values.push((output, vec![output])),
            }
        }
    }
    values
}

/// The names of each stem, in order.
fn families(names: &[RString]) -> HashMap<&str, Vec<&RString>> {
    let mut families: HashMap<&str, Vec<&RString>> = HashMap::new();
    for name in names {
        families.entry(stem(name)).or_default().push(name);
    }
    families
}

/// A name without its number: `add` of `add_2`.
fn stem(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((stem, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            stem
        }
        _ => name,
    }
}

impl Prepared {
    /// All values that the engine computes, in the order of execution.
    ///
    /// # Errors
    /// The engine's.
    pub fn computed(&self) -> Result<Vec<RString>> {
        Ok(self.model.values().into_result()?.into())
    }

    /// What each of them took in the last run with the option `profile`, in nanoseconds.
    ///
    /// # Errors
    /// The engine's.
    pub fn times(&self) -> Result<Vec<u64>> {
        Ok(self.model.times().into_result()?.into())
    }

    /// Runs the model.
    ///
    /// # Errors
    /// `InvalidInput` for inputs and options that do not fit, `NotFound` for values that do not exist,
    /// `RuntimeFailed`, and what the sink and the progress answer.
    pub fn run(
        &self,
        info: &ModelInfo,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        // What is given besides the inputs takes the place of what layers compute.
        let is_input =
            |view: &&TensorView<'_>| info.inputs.iter().any(|input| input.name == view.name.as_str());
        let known: HashSet<&RString> = self.values.iter().collect();
        let (substitutes, given): (Vec<TensorView<'_>>, Vec<TensorView<'_>>) = request
            .inputs
            .iter()
            .partition(|view| !is_input(view) && known.contains(&RString::from(view.name.as_str())));
        let given = RunRequest { inputs: RSlice::from_slice(&given), ..*request };
        let inputs = in_order(info, &given)?;
        let outputs: Vec<RString> = info.outputs.iter().map(|output| output.name.clone()).collect();
        let request = engine::RunRequest {
            inputs: RSlice::from_slice(&inputs),
            substitutes: RSlice::from_slice(&substitutes),
            fetch: request.fetch,
            names: request.names,
            options: request.options,
        };
        if request.fetch == Fetch::OUTPUTS {
            let all = engine::RunRequest { names: RSlice::from_slice(&outputs), ..request };
            return self.model.run(all, sink.as_raw(), progress.as_raw()).into_result();
        }
        let wanted = match request.fetch {
            Fetch::NAMED => request.names.as_slice(),
            Fetch::LAYERS => &self.values,
            _ => {
                return Err(BackendError::unsupported_op(
                    "this backend does not know this kind of request for values",
                ));
            }
        };
        let names = wanted.iter().map(|name| {
            let output = || outputs.iter().position(|output| output == name);
            match known.get(name) {
                Some(_) => Ok(name.clone()),
                None => output()
                    .map(|index| RString::from(format!("output:{index}")))
                    .ok_or_else(|| not_captured(info, name)),
            }
        });
        let names: Vec<RString> = names.collect::<Result<_>>()?;
        // The engine knows an output that no layer computes by its number.
        let renamed: HashMap<&RString, &RString> = names.iter().zip(wanted).collect();
        let mut rename = FnSink(|view: TensorView<'_>| {
            let name = renamed.get(&RString::from(view.name.as_str())).ok_or_else(|| {
                BackendError::internal("the engine delivers a value that was not requested")
            })?;
            sink.tensor(TensorView { name: name.as_str().into(), ..view })
        });
        let rename = TensorSink_TO::from_ptr(RMut::new(&mut rename), TD_Opaque);
        let request = engine::RunRequest { names: RSlice::from_slice(&names), ..request };
        self.model.run(request, rename, progress.as_raw()).into_result()
    }
}

/// Why a value that the engine does not deliver is none, or cannot be captured.
fn not_captured(info: &ModelInfo, name: &RString) -> BackendError {
    if info.layers.iter().any(|layer| layer.outputs.contains(name)) {
        let message = format!(
            "`{name}` cannot be captured: libtorch and the code in the file count its calls differently"
        );
        return BackendError::unsupported_op(message).with_help("Capture other layers by their names.");
    }
    BackendError::not_found(format!("no value `{name}` can be captured"))
        .with_help("See `layers` for what computes a value.")
}

#[cfg(test)]
mod tests {
    use super::{stem, values};
    use qp_abi::sdk::{LayerInfo, ModelInfo, RString};

    fn info(names: &[&str]) -> ModelInfo {
        let layers = names.iter().map(|name| LayerInfo {
            path: (*name).into(),
            op_type: "Conv2d".into(),
            outputs: vec![RString::from(*name)].into(),
            ..LayerInfo::default()
        });
        ModelInfo { layers: layers.collect::<Vec<_>>().into(), ..ModelInfo::new("torchscript") }
    }

    #[test]
    fn a_stem_is_a_name_without_its_number() {
        assert_eq!(
            ["add", "add_2", "layer1.conv1", "relu_"].map(stem),
            ["add", "add", "layer1.conv1", "relu_"]
        );
    }

    #[test]
    fn numbered_values_count_only_where_both_sides_count_the_same() {
        let read = info(&["stem", "add", "relu", "add_1", "head"]);
        let computed = ["stem", "add", "relu", "relu_1", "add_1", "other"].map(RString::from);
        let same: Vec<String> = values(&read, &computed).iter().map(ToString::to_string).collect();
        assert_eq!(same, ["stem", "add", "add_1"]);
    }

    #[test]
    fn all_that_the_code_unpacks_of_a_layer_can_be_captured() {
        let mut read = info(&["split", "lstm"]);
        read.layers[0].outputs.push("split:1".into());
        let same: Vec<String> =
            values(&read, &["split", "lstm"].map(RString::from)).iter().map(ToString::to_string).collect();
        assert_eq!(same, ["split", "split:1", "lstm"]);
    }
}
