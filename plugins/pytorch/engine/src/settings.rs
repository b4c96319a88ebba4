//! The settings of a model and of a run: threads, the engine of quantized operators, the precision of float tensors.

use crate::shim;
use qp_abi::sdk::{BackendError, PROFILE, Pair, Result, STEPS, lookup};
use tch::{Kind, Tensor};

/// The largest number of threads that can be requested.
const MAX_THREADS: i32 = 1024;
const THREADS: &str = "threads";
const ENGINE: &str = "qengine";
const PRECISION: &str = "precision";
const BUDGET: &str = "budget";
const PRECISIONS: [(&str, Kind); 4] = [
    ("float32", Kind::Float),
    ("float64", Kind::Double),
    ("bfloat16", Kind::BFloat16),
    ("float16", Kind::Half),
];

/// What the options set; nothing for the rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Threads within one operator.
    pub(crate) threads: Option<i32>,
    /// The engine of quantized operators. Packed weights belong to one: it is chosen before they are packed.
    pub(crate) engine: Option<String>,
    /// The type to which float tensors are converted before anything is computed.
    pub(crate) precision: Option<Kind>,
    /// Whether few captured bytes may be kept. The exact number does not matter: each value is freed as soon as it is
    /// delivered.
    pub(crate) has_budget: bool,
    /// Whether the run notes what each value takes.
    pub(crate) is_profiled: bool,
    /// Whether the progress tells each value before it is computed.
    pub(crate) is_stepwise: bool,
}

impl Settings {
    /// Reads options; later ones override earlier ones.
    ///
    /// # Errors
    /// `InvalidInput` for an unknown option or an invalid value.
    pub(crate) fn read(options: &[Pair]) -> Result<Self> {
        let known = [THREADS, ENGINE, PRECISION, BUDGET, PROFILE, STEPS];
        if let Some(unknown) = options.iter().find(|option| !known.contains(&option.0.as_str())) {
            let message = format!("unknown option `{}` for libtorch", unknown.0);
            return Err(
                BackendError::invalid_input(message).with_help("Use `threads`, `qengine` or `precision`.")
            );
        }
        Ok(Self {
            threads: lookup(options, THREADS).map(threads).transpose()?,
            engine: lookup(options, ENGINE).map(engine).transpose()?,
            precision: lookup(options, PRECISION).map(precision).transpose()?,
            has_budget: lookup(options, BUDGET).is_some(),
            is_profiled: lookup(options, PROFILE).is_some(),
            is_stepwise: lookup(options, STEPS).is_some(),
        })
    }

    /// A float tensor in the requested precision; any other unchanged.
    pub(crate) fn converted(&self, tensor: Tensor) -> Tensor {
        let is_float = PRECISIONS.iter().any(|(_, kind)| *kind == tensor.kind());
        match self.precision {
            Some(kind) if is_float && kind != tensor.kind() => tensor.to_kind(kind),
            _ => tensor,
        }
    }

    /// The name of the requested precision.
    pub(crate) fn precision_name(&self) -> Option<&'static str> {
        let wanted = self.precision?;
        PRECISIONS.iter().find(|(_, kind)| *kind == wanted).map(|(name, _)| *name)
    }
}

fn threads(text: &str) -> Result<i32> {
    let number = text.parse().ok().filter(|number| (1..=MAX_THREADS).contains(number));
    number.ok_or_else(|| {
        BackendError::invalid_input(format!("invalid value `{text}` for option `{THREADS}`"))
            .with_help(format!("Use a number from 1 to {MAX_THREADS}."))
    })
}

fn engine(text: &str) -> Result<String> {
    let supported = shim::supported_engines();
    if supported.contains(&text) {
        return Ok(text.to_owned());
    }
    let names: Vec<String> = supported.iter().map(|name| format!("`{name}`")).collect();
    Err(BackendError::invalid_input(format!("invalid value `{text}` for option `{ENGINE}`"))
        .with_help(format!("This machine has {}.", names.join(", "))))
}

fn precision(text: &str) -> Result<Kind> {
    let found = PRECISIONS.iter().find(|(name, _)| *name == text);
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<String> = PRECISIONS.iter().map(|(name, _)| format!("`{name}`")).collect();
        BackendError::invalid_input(format!("invalid value `{text}` for option `{PRECISION}`"))
            .with_help(format!("Use {}.", names.join(", ")))
    })
}
