//! TorchScript archives: `data.pkl` has the modules, `code/` the classes, `constants.pkl` the constants.

mod call;
mod class;
mod code;
mod control;
mod entry;
mod expression;
mod fake_quantize;
mod forward;
mod inlined;
mod lexer;
mod listed;
mod listing;
mod modules;
pub(crate) mod operator;
mod reach;
mod record;
mod symbol;
mod tracer;

pub use listing::listing;

use crate::container::Archive;
use crate::document::{Collector, Document, value};
use crate::eager::packed_parameters;
use crate::pickle::{Pickle, decode};
use crate::rebuild::{Rebuild, Storages};
use crate::tensor::{Data, StoredTensor};
use forward::shortened;
use modules::Modules;
use qp_abi::manifest::pair;
use qp_abi::sdk::{
    BackendError, DType, Dimension, ModelInfo, RSome, RString, RVec, Result, TensorRole, ValueInfo,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Methods that are named.
const MAX_METHODS: usize = 64;

/// Reads a TorchScript archive; of a dangerous one as much as can be read.
///
/// # Errors
/// `CorruptFile` when its pickles or tensors make no sense.
pub fn read(archive: &Arc<Archive>, is_dangerous: bool) -> Result<Document> {
    let is_big_endian = archive.is_big_endian()?;
    let mut collector = Collector::new("torchscript", Data::of_archive(Arc::clone(archive)));
    let code = record::code(archive)?;
    let data = decode(&archive.content("data.pkl")?)?;
    let constants = decode(&archive.content("constants.pkl")?)?;

    let folder = |name: &str| Storages::Folder(name.to_owned());
    let storages = folder("data/");
    let rebuild = Rebuild { pickle: &data, storages: &storages, is_big_endian };
    let modules = match Modules::read(rebuild, &code, &mut collector) {
        Ok(modules) => modules,
        Err(_) if is_dangerous => Modules::default(),
        Err(error) => return Err(error),
    };
    let storages = folder("constants/");
    let constants =
        stored_constants(Rebuild { pickle: &constants, storages: &storages, is_big_endian }, &mut collector)?;
    let flow = forward::follow(&modules, &code, &constants, &collector);

    let info = &mut collector.document.info;
    info.layers = flow.layers.into();
    info.values = flow.values.into();
    info.outputs = flow.outputs.into();
    let of_argument = |(name, annotation): &(String, String)| {
        let is_optional = flow.optional.contains(name) || annotation.starts_with("Optional[");
        ValueInfo { is_optional, ..input(name, annotation) }
    };
    info.inputs = flow.inputs.iter().map(of_argument).collect();
    own_constants(info);
    info.scheme = scheme(&modules, info).into();
    if let Some(root) = modules.all.first() {
        info.metadata.push(pair("class", root.class.full_name()));
        let others =
            code.classes.get(&root.class.qualified).map(|class| class.other_methods()).unwrap_or_default();
        if !others.is_empty() {
            let shown = others.get(..MAX_METHODS.min(others.len())).unwrap_or_default().join(", ");
            let more = if others.len() > MAX_METHODS { ", …" } else { "" };
            info.metadata.push(pair("methods beside forward", format!("{shown}{more}")));
        }
        info.metadata.extend(root.layer.attributes.iter().filter_map(|attribute| match &attribute.value {
            qp_abi::sdk::AttributeValue::Text(text) => {
                Some(pair(attribute.name.to_string(), text.to_string()))
            }
            _ => None,
        }));
    }
    if archive.contains("bytecode.pkl") {
        let pickle = decode(&archive.content("bytecode.pkl")?)?;
        let first = pickle.sequence(pickle.root()).and_then(|parts| parts.first());
        if let Some(version) = first.and_then(|&at| pickle.float(at)) {
            info.versions.push(pair("mobile bytecode", version.to_string()));
        }
        let text =
            "with bytecode for the lite interpreter; what is read and run is the TorchScript beside it";
        info.metadata.push(pair("mobile", text));
    }
    if archive.contains("traced_inputs.pkl") {
        let storages = folder("traced_inputs/");
        let pickle = decode(&archive.content("traced_inputs.pkl")?)?;
        examples(Rebuild { pickle: &pickle, storages: &storages, is_big_endian }, info)?;
    }
    if modules.all.first().is_some_and(|root| code.method(&root.class.qualified, "forward").is_none()) {
        info.run_obstacle = RSome(BackendError::unsupported_op("the module has no method `forward`"));
    }
    // Such code runs as soon as libtorch loads the module.
    code.reach.judge().report(info);
    data.check_whole()?;
    Ok(collector.document)
}

/// The tensors of `constants.pkl`, by the names that code gives them: `c0`, `c1`, …
fn stored_constants(
    rebuild: Rebuild<'_>,
    collector: &mut Collector,
) -> Result<HashMap<String, (RString, StoredTensor)>> {
    let pickle = rebuild.pickle;
    let mut constants = HashMap::new();
    for (index, &at) in pickle.sequence(pickle.root()).unwrap_or_default().iter().enumerate() {
        if let Some(found) = rebuild.plain(at)? {
            let tensor = found.tensor.clone();
            let name = collector.add(&format!("CONSTANTS.c{index}"), "", TensorRole::CONSTANT, found)?;
            constants.insert(format!("c{index}"), (name, tensor));
        } else {
            // Freezing makes constants of packed parameters too.
            let state = pickle.object(at).and_then(|object| object.state);
            for (part, found) in
                state.map(|state| packed_parameters(rebuild, "", state)).transpose()?.unwrap_or_default()
            {
                let tensor = found.tensor.clone();
                let name = format!("CONSTANTS.c{index}.{part}");
                let name = collector.add(&name, "", TensorRole::PARAMETER, found)?;
                constants.entry(format!("c{index}")).or_insert((name, tensor));
            }
        }
    }
    Ok(constants)
}

/// A constant that a layer computes with is a parameter of that layer, as freezing leaves them; one with a
/// single element stays a constant.
fn own_constants(info: &mut ModelInfo) {
    let readers: HashMap<RString, RString> = info
        .layers
        .iter()
        .flat_map(|layer| layer.tensors.iter().map(|name| (name.clone(), layer.path.clone())))
        .collect();
    for tensor in info.tensors.iter_mut().filter(|tensor| tensor.name.starts_with("CONSTANTS.")) {
        if let Some(reader) = readers.get(&tensor.name)
            && !tensor.shape.is_empty()
        {
            tensor.layer = reader.clone();
            tensor.role = TensorRole::PARAMETER;
        }
    }
}

/// An input of `forward`. A number or a flag is a tensor without dimensions, which the engine takes the number of.
fn input(name: &str, annotation: &str) -> ValueInfo {
    let mut input = value(name, None);
    let own = annotation.strip_prefix("Optional[").and_then(|inner| inner.strip_suffix(']'));
    let dtype = match own.unwrap_or(annotation) {
        "Tensor" => return input,
        "int" => DType::INT64,
        "float" | "number" => DType::FLOAT64,
        "bool" => DType::BOOL,
        _ => {
            input.type_name = shortened(annotation).into();
            return input;
        }
    };
    (input.dtype, input.shape) = (dtype, RSome(RVec::new()));
    input
}

/// How the model was quantized: FX mode leaves a `GraphModule`, unless its submodules were traced apart.
fn scheme(modules: &Modules, info: &ModelInfo) -> String {
    let classes = modules.all.iter().map(|module| &module.class);
    let has = |wanted: &str| {
        modules
            .all
            .iter()
            .any(|module| module.layer.quantization == wanted && module.class.name != "LinearPackedParams")
    };
    let is_static = has("static") || info.layers.iter().any(|layer| layer.quantization == "static");
    let is_graph =
        classes.clone().any(|class| class.name == "GraphModule" || class.name.starts_with("GraphModule"));
    let mut schemes = Vec::new();
    if is_static {
        schemes.push(if is_graph { "FX" } else { "eager" });
    }
    if has("dynamic") {
        schemes.push("dynamic");
    }
    schemes.join(" + ")
}

/// A trace of a recent PyTorch keeps the example inputs: they tell the types, and the shapes but for the
/// first dimension, which is the batch in nearly every model and is left open.
fn examples(rebuild: Rebuild<'_>, info: &mut ModelInfo) -> Result<()> {
    let pickle = rebuild.pickle;
    let Some(methods) = untagged(pickle, pickle.root()) else { return Ok(()) };
    let Some(inputs) = pickle.entry(methods, "forward").and_then(|at| untagged(pickle, at)) else {
        return Ok(());
    };
    let mut described = HashSet::new();
    for (input, &at) in info.inputs.iter_mut().zip(pickle.sequence(inputs).unwrap_or_default()) {
        let Some(found) = rebuild.plain(at)? else { continue };
        input.dtype = found.tensor.dtype;
        let mut shape: Vec<Dimension> =
            found.tensor.shape.iter().map(|&size| Dimension::fixed(size)).collect();
        if let [batch, _, ..] = shape.as_mut_slice() {
            *batch = Dimension::symbolic("batch");
        }
        input.shape = RSome(shape.into());
        described.insert(format!("{} {} {:?}", input.name, found.tensor.dtype, found.tensor.shape));
    }
    let mut described: Vec<String> = described.into_iter().collect();
    described.sort();
    if !described.is_empty() {
        info.metadata.push(pair("traced with", described.join(", ")));
    }
    Ok(())
}

/// The value within `torch.jit._pickle.restore_type_tag(value, type)`.
fn untagged(pickle: &Pickle, at: crate::pickle::Ref) -> Option<crate::pickle::Ref> {
    match pickle.object(at) {
        Some(object) => {
            let is_tag = pickle
                .callable(object)
                .is_some_and(|global| global.is("torch.jit._pickle", "restore_type_tag"));
            if is_tag { pickle.arguments(object).first().copied() } else { None }
        }
        None => Some(at),
    }
}
