//! A request to run, checked against the model before the runtime sees it.

use super::capture;
use super::tensor::unpack_strings;
use ort::session::builder::GraphOptimizationLevel;
use qp_abi::sdk::{
    BackendError, DType, Dimension, Fetch, ModelInfo, PROFILE, Result, RunRequest, STEPS, TensorView,
    ValueInfo, element_count,
};
use std::collections::HashSet;
use std::path::Path;

/// How a model is prepared; a run with other settings needs another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much the graph is changed.
    pub optimization: Optimization,
    /// Its own threads; `None` for the pool that all sessions share.
    pub threads: Option<usize>,
    /// About how many bytes of captured values are kept at a time; `None` for no limit.
    pub budget: Option<u64>,
    /// How many bytes of values may be kept for runs that differ only in switches; `None` for none.
    pub replay: Option<u64>,
}

/// How much the runtime may change the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimization {
    /// Not at all.
    Disable,
    /// Without regard to the hardware.
    Basic,
    /// With fused operators.
    Extended,
    /// Also with other memory layouts.
    All,
}

impl Optimization {
    const NAMES: [(&'static str, Self); 4] = [
        ("disable", Self::Disable),
        ("basic", Self::Basic),
        ("extended", Self::Extended),
        ("all", Self::All),
    ];

    /// The option's value for this level.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, level)| *level == self).map_or("all", |(name, _)| name)
    }

    /// The level in `ort`'s terms.
    pub fn level(self) -> GraphOptimizationLevel {
        match self {
            Self::Disable => GraphOptimizationLevel::Disable,
            Self::Basic => GraphOptimizationLevel::Level1,
            Self::Extended => GraphOptimizationLevel::Level2,
            Self::All => GraphOptimizationLevel::All,
        }
    }
}

impl Settings {
    /// More threads than any machine has are a mistake, and each would take memory.
    const MAX_THREADS: usize = 1024;

    /// The settings in the options of a run, without `profile`.
    ///
    /// # Errors
    /// `InvalidInput` for an unknown option or value.
    pub fn of<'o>(options: impl IntoIterator<Item = (&'o str, &'o str)>) -> Result<Self> {
        let mut settings =
            Self { optimization: Optimization::All, threads: None, budget: None, replay: None };
        for (name, value) in options {
            match name {
                "optimization" => {
                    let known = Optimization::NAMES.iter().find(|(name, _)| *name == value);
                    settings.optimization = known.map(|(_, level)| *level).ok_or_else(|| {
                        BackendError::invalid_input(format!("invalid optimization level `{value}`"))
                            .with_help("Choose `disable`, `basic`, `extended` or `all`.")
                    })?;
                }
                "threads" => {
                    let threads = value.parse().ok().filter(|count| (1..=Self::MAX_THREADS).contains(count));
                    settings.threads = Some(threads.ok_or_else(|| {
                        BackendError::invalid_input(format!("invalid number of threads `{value}`"))
                            .with_help(format!("Choose a number from 1 to {}.", Self::MAX_THREADS))
                    })?);
                }
                "budget" | "replay" => {
                    let bytes = value.parse().map_err(|_| {
                        BackendError::invalid_input(format!("invalid number of bytes `{value}`"))
                    })?;
                    let setting = if name == "budget" { &mut settings.budget } else { &mut settings.replay };
                    *setting = Some(bytes);
                }
                _ => {
                    return Err(BackendError::invalid_input(format!("unknown run option `{name}`"))
                        .with_help("The options are `optimization`, `threads`, `budget` and `replay`."));
                }
            }
        }
        Ok(settings)
    }
}

/// A request that fits the model; the runtime has not seen it yet.
pub struct Plan<'a> {
    /// How the model must be prepared.
    pub settings: Settings,
    /// Whether each node is a piece, and told before it runs.
    pub is_stepwise: bool,
    /// Where the runtime notes how long each kernel takes, if it should.
    pub profile: Option<&'a Path>,
    /// The inputs by the model's names, in the model's order.
    pub inputs: Vec<(&'a str, TensorView<'a>)>,
    /// The names of the values to deliver, in order.
    pub wanted: Vec<&'a str>,
    /// Those of them that are not outputs of the model.
    pub captured: Vec<&'a str>,
    /// Outputs that are not tensors, and are left out when all outputs are requested.
    pub left_out: Vec<&'a ValueInfo>,
}

impl<'a> Plan<'a> {
    /// Checks the request against the model.
    ///
    /// # Errors
    /// `InvalidInput` for inputs or options that do not fit, `NotFound` for an unknown output, `UnsupportedOp` for
    /// what cannot be delivered.
    pub fn new(info: &'a ModelInfo, request: &RunRequest<'a>) -> Result<Self> {
        let options = request.options.as_slice().iter().map(|option| (option.0.as_str(), option.1.as_str()));
        let profile = options.clone().find(|(name, _)| *name == PROFILE).map(|(_, folder)| Path::new(folder));
        let is_stepwise = options.clone().any(|(name, _)| name == STEPS);
        let mut settings = Settings::of(options.filter(|(name, _)| ![PROFILE, STEPS].contains(name)))?;
        if is_stepwise {
            settings =
                Settings { optimization: Optimization::Disable, budget: Some(0), replay: None, ..settings };
        }
        let wanted = wanted(info, request)?;
        let views = request.inputs.as_slice();
        if let Some(view) = views.iter().find(|view| !info.inputs.iter().any(|input| input.name == view.name))
        {
            return Err(BackendError::invalid_input(format!("the model has no input `{}`", view.name))
                .with_help(format!("Its inputs are {}.", names(info.inputs.as_slice()))));
        }
        let is_output = |name: &str| info.outputs.iter().any(|output| output.name == name);
        let captured = wanted.iter().copied().filter(|name| !is_output(name)).collect();
        let is_wanted = |output: &&ValueInfo| request.fetch == Fetch::OUTPUTS && delivered(output).is_err();
        let left_out = info.outputs.iter().filter(is_wanted).collect();
        let mut plan =
            Self { settings, is_stepwise, profile, inputs: Vec::new(), wanted, captured, left_out };
        for input in &info.inputs {
            let mut given = views.iter().filter(|view| view.name == input.name);
            let view = given.next().ok_or_else(|| {
                BackendError::invalid_input(format!("the input `{}` is missing", input.name))
                    .with_help(format!("The model's inputs are {}.", names(info.inputs.as_slice())))
            })?;
            if given.next().is_some() {
                return Err(BackendError::invalid_input(format!(
                    "the input `{}` is given twice",
                    input.name
                )));
            }
            check_input(input, view)?;
            plan.inputs.push((input.name.as_str(), *view));
        }
        Ok(plan)
    }

    /// The size of all inputs.
    pub fn input_bytes(&self) -> u64 {
        self.inputs.iter().map(|(_, view)| view.bytes.len() as u64).sum()
    }
}

fn names(values: &[ValueInfo]) -> String {
    values.iter().map(|value| format!("`{}`", value.name)).collect::<Vec<_>>().join(", ")
}

fn wanted<'a>(info: &'a ModelInfo, request: &RunRequest<'a>) -> Result<Vec<&'a str>> {
    match request.fetch {
        Fetch::OUTPUTS => {
            let wanted: Vec<&str> = info.outputs.iter().filter_map(|output| delivered(output).ok()).collect();
            match info.outputs.first() {
                // Outputs other than tensors are left out, unless there are no others.
                Some(first) if wanted.is_empty() => delivered(first).map(|name| vec![name]),
                _ => Ok(wanted),
            }
        }
        Fetch::NAMED => {
            let names: &'a [_] = request.names.as_slice();
            let computed = capture::computed(info).collect();
            names.iter().map(|name| named(info, &computed, name.as_str())).collect()
        }
        Fetch::LAYERS => Ok(capture::computed(info).collect()),
        other => Err(BackendError::unsupported_op(format!("the request to fetch {} is unknown", other.0))),
    }
}

fn named<'a>(info: &'a ModelInfo, computed: &HashSet<&str>, name: &'a str) -> Result<&'a str> {
    match info.outputs.iter().find(|output| output.name == name) {
        Some(output) => delivered(output),
        None => capture::check(info, computed, name).map(|()| name),
    }
}

fn delivered(output: &ValueInfo) -> Result<&str> {
    if output.type_name.contains("map(") {
        return Err(BackendError::unsupported_op(format!(
            "the output `{}` is of type `{}`, which is not a tensor",
            output.name, output.type_name
        )));
    }
    Ok(output.name.as_str())
}

fn check_input(input: &ValueInfo, view: &TensorView<'_>) -> Result<()> {
    let refuse =
        |what: String| Err(BackendError::invalid_input(format!("the input `{}` {what}", input.name)));
    if input.dtype != DType::UNDEFINED && input.dtype != view.dtype {
        return refuse(format!("is {}, but the model takes {}", view.dtype, input.dtype));
    }
    let given = view.shape.as_slice();
    if let Some(wanted) = input.shape.as_ref().into_option() {
        let fits = wanted.len() == given.len()
            && wanted.iter().zip(given).all(|(wanted, &given)| wanted.size < 0 || wanted.size == given);
        if !fits {
            return refuse(format!(
                "has shape {given:?}, but the model takes {}",
                shape_text(wanted.as_slice())
            ));
        }
    }
    let elements = element_count(given);
    let bytes = view.bytes.len() as u64;
    let fits = match (view.dtype, elements) {
        (_, None) => false,
        (DType::STRING, Some(count)) => {
            unpack_strings(view.bytes.as_slice()).is_some_and(|texts| texts.len() as u64 == count)
        }
        (dtype, Some(count)) => dtype.packed_bytes(count) == Some(bytes),
    };
    if !fits || view.first_element != 0 {
        return refuse(format!("holds {bytes} bytes, which is not {} of shape {given:?}", view.dtype));
    }
    Ok(())
}

fn shape_text(shape: &[Dimension]) -> String {
    let sizes = shape.iter().map(|dimension| match (dimension.size, dimension.symbol.as_str()) {
        (size, _) if size >= 0 => size.to_string(),
        (_, "") => "?".to_owned(),
        (_, symbol) => symbol.to_owned(),
    });
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}
