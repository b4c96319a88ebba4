//! A model in libtorch's memory: a TorchScript module, or a program.

use crate::error::{failed, not_run};
use crate::gate::{Pass, enter};
use crate::prepare::{self, prepare};
use crate::settings::Settings;
use crate::shim::{self, Given, Module, Stop, Tap};
use crate::substitution::Substitution;
use crate::{load, tensor};
use qp_abi::manifest::pair;
use qp_abi::sdk::Names;
use qp_abi::sdk::{
    BackendError, Fetch, Pair, Progress, RString, Result, RunReport, Sink, TensorView, step_stage,
};
use qp_pytorch_contract::RunRequest;
use qp_pytorch_contract::boundary;
use qp_pytorch_contract::program::Program;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tch::Tensor;

/// The prefix of an output that is requested by number.
const OUTPUT: &str = "output:";
/// The progress stage of preparing a model.
const LOADING: &str = "loading into libtorch";

/// A model in libtorch's memory.
pub struct Model {
    module: Mutex<Module>,
    /// What can be captured, in the order of execution, each under its unique name.
    values: Vec<RString>,
    settings: Settings,
    /// What each value took in the last run that was profiled.
    times_ns: Mutex<Vec<u64>>,
}

impl Model {
    /// Loads the TorchScript file at `path`.
    ///
    /// # Errors
    /// `RuntimeFailed` when libtorch rejects it, `InvalidInput` for an unknown option.
    pub(crate) fn load(path: &str, options: &[Pair], progress: &Progress<'_>) -> Result<Self> {
        shim::silence();
        let settings = Settings::read(options)?;
        progress.update(LOADING, 0, 0)?;
        let _pass = enter(settings.engine.as_deref(), None, progress)?;
        let mut module = load::load(path, progress)?;
        if let Some(kind) = settings.precision {
            module
                .convert(kind)
                .map_err(|text| failed(&format!("libtorch cannot convert `{path}`"), text))?;
        }
        let names = module.names().map_err(|stop| match stop {
            Stop::Panicked(error) => error,
            Stop::Failed(text) => failed(&format!("libtorch cannot list `{path}`"), text),
            Stop::Stopped => BackendError::internal("listing stopped without a reason"),
        })?;
        Ok(Self { module: Mutex::new(module), values: values(&names), settings, times_ns: Mutex::default() })
    }

    /// Builds a model from a program and its stored tensors, in the order in which the program names them.
    ///
    /// # Errors
    /// As [`prepare`], and `InvalidInput` for an unknown option.
    pub(crate) fn prepare(
        program: &Program,
        stored: &[TensorView<'_>],
        options: &[Pair],
        progress: &Progress<'_>,
    ) -> Result<Self> {
        shim::silence();
        let settings = Settings::read(options)?;
        if stored.len() != program.stored.len() {
            return Err(BackendError::internal("a program's stored tensors are not those that it names"));
        }
        let mut tensors = Vec::with_capacity(stored.len());
        for (index, view) in stored.iter().enumerate() {
            progress.update(LOADING, index as u64, stored.len() as u64)?;
            tensors.push(settings.converted(tensor::stored(view)?));
        }
        let _pass = enter(settings.engine.as_deref(), None, progress)?;
        let module = tch::no_grad(|| prepare(program, tensors))?;
        let values = prepare::tapped(program).map(RString::from).collect();
        Ok(Self { module: Mutex::new(module), values, settings, times_ns: Mutex::default() })
    }
}

/// The values that can be captured, under the names that the `pytorch` plugin gives them.
fn values(listed: &shim::Names) -> Vec<RString> {
    let mut names = Names::default();
    for name in listed.modules.iter().chain(&listed.inputs) {
        names.take(name);
    }
    let mut called = HashSet::new();
    let values = listed.taps.iter().map(|tap| match tap {
        // The path itself names the result of the first call.
        Tap::Module(path) if called.insert(path) => path.clone(),
        Tap::Module(path) => names.claim(path, '_', 1),
        Tap::Operator(scope, operator) => {
            let stem = if scope.is_empty() { operator.clone() } else { format!("{scope}.{operator}") };
            names.claim(&stem, '_', 1)
        }
    });
    values.map(RString::from).collect()
}

impl boundary::Model for Model {
    fn values(&self) -> Vec<RString> {
        self.values.clone()
    }

    fn times(&self) -> Vec<u64> {
        self.times_ns.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn run(
        &self,
        request: &RunRequest<'_>,
        sink: &mut Sink<'_>,
        progress: &Progress<'_>,
    ) -> Result<RunReport> {
        shim::silence();
        let of_run = Settings::read(request.options.as_slice())?;
        let threads = of_run.threads.or(self.settings.threads);
        let inputs = request.inputs.as_slice();
        let inputs = inputs.iter().map(|view| {
            // A name with a zero byte cannot belong to an argument.
            let name = CString::new(view.name.as_str()).unwrap_or_default();
            Ok((name, self.settings.converted(tensor::input(view)?)))
        });
        let inputs: Vec<(CString, Tensor)> = inputs.collect::<Result<_>>()?;
        let mut wanted = Wanted::of(request, &self.values, of_run.has_budget)?;
        let mut substitution = self.substitution(request.substitutes.as_slice())?;
        let mut flags = wanted.flags(self.values.len());
        substitution.taps().for_each(|tap| flags[tap] = true);
        let mut module = self.module.lock().map_err(|_| BackendError::internal("an earlier run panicked"))?;
        progress.update("running", 0, 0)?;
        let pass = enter(self.settings.engine.as_deref(), threads, progress)?;
        let mut outputs = Vec::new();
        let mut fault = None;
        // The layer whose value is due next.
        let mut next = 0;
        let stages =
            of_run.is_stepwise.then(|| self.values.iter().map(|value| step_stage(value)).collect::<Vec<_>>());
        let tell = |next: usize| {
            let stage = stages.as_ref().and_then(|stages| stages.get(next)).map_or("running", String::as_str);
            progress.update(stage, next as u64, self.values.len() as u64)
        };
        tell(next)?;
        let mut clock = of_run.is_profiled.then(|| Clock::of(self.values.len()));
        let mut receive = |given: Given<'_>| {
            let is_tapped = matches!(given, Given::Tapped(..));
            if let Given::Tapped(index, ..) = &given {
                next = index + 1;
                if let Some(clock) = &mut clock {
                    clock.stop(*index);
                }
            }
            let taken = match given {
                Given::Alive => tell(next),
                Given::Tapped(index, part, tensor) => tell(index + 1).and_then(|()| {
                    let Some(tensor) = tensor else { return Ok(()) };
                    wanted.take(&Source::Value(index, part), &tensor, sink)?;
                    substitution
                        .put((index, part), &tensor)
                        .map_err(|error| failed("libtorch cannot replace a value", error))
                }),
                Given::Output(key, tensor) => {
                    outputs.push((key.map(str::to_owned), tensor));
                    Ok(())
                }
            };
            if let Some(clock) = clock.as_mut().filter(|_| is_tapped) {
                clock.start();
            }
            match taken {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    fault = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let result = tch::no_grad(|| module.run(&inputs, &flags, &mut receive));
        tch::no_grad(|| drop(substitution));
        drop(module);
        if let Some(clock) = clock {
            *self.times_ns.lock().unwrap_or_else(PoisonError::into_inner) = clock.times_ns;
        }
        let elapsed = match result {
            Ok(elapsed) => elapsed,
            Err(Stop::Stopped) => {
                return Err(fault.unwrap_or_else(|| BackendError::internal("a run stopped without a reason")));
            }
            Err(Stop::Panicked(error)) => return Err(error),
            Err(Stop::Failed(text)) => {
                let error = not_run(self.values.get(next).map(RString::as_str), text);
                return Err(match self.settings.precision_name() {
                    Some(precision) if error.help.is_empty() => error.with_help(format!(
                        "The model may contain explicit types that conflict with {precision}: run it without a precision."
                    )),
                    _ => error,
                });
            }
        };
        tch::no_grad(|| wanted.finish(outputs, sink))?;
        Ok(self.report(&pass, u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Model {
    /// The values that replace computed ones.
    fn substitution(&self, views: &[TensorView<'_>]) -> Result<Substitution> {
        if views.is_empty() {
            return Ok(Substitution::default());
        }
        let values: HashMap<&str, usize> =
            self.values.iter().enumerate().map(|(index, value)| (value.as_str(), index)).collect();
        Substitution::of(views, |name| match Source::of(name, &values) {
            Some(Source::Value(index, part)) => Some((index, part)),
            _ => None,
        })
    }

    fn report(&self, pass: &Pass, elapsed_ns: u64) -> RunReport {
        let mut settings = vec![
            pair("threads", pass.threads.to_string()),
            pair("qengine", pass.engine),
            pair("device", "cpu"),
            pair("mode", "eval"),
        ];
        settings.extend(self.settings.precision_name().map(|name| pair("precision", name)));
        RunReport {
            runtime: "libtorch".into(),
            runtime_version: shim::version().into(),
            elapsed_ns,
            settings: settings.into(),
        }
    }
}

/// Measures from value to value.
struct Clock {
    started: Instant,
    times_ns: Vec<u64>,
}

impl Clock {
    fn of(values: usize) -> Self {
        Self { started: Instant::now(), times_ns: vec![0; values] }
    }

    fn start(&mut self) {
        self.started = Instant::now();
    }

    /// A value that is computed in several parts gets the sum.
    fn stop(&mut self, index: usize) {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let Some(time) = self.times_ns.get_mut(index) {
            *time = time.saturating_add(elapsed);
        }
    }
}

/// What remains to be delivered, in the order of the request.
enum Wanted<'a> {
    /// The outputs, under these names if there are as many.
    Outputs(&'a [RString]),
    Named {
        due: Vec<Due<'a>>,
        /// How many are delivered.
        delivered: usize,
        /// Whether values that a run does not compute are left out; otherwise that is an error.
        is_lenient: bool,
        /// Whether values are delivered in the order of computation, and none are kept.
        is_as_computed: bool,
    },
}

struct Due<'a> {
    name: &'a str,
    source: Source,
    /// Values that arrived before their turn, copied: the model may overwrite its own.
    kept: Option<Tensor>,
    is_delivered: bool,
}

#[derive(PartialEq, Eq)]
enum Source {
    /// One of the tensors that a layer computes.
    Value(usize, usize),
    Output(usize),
}

impl Source {
    /// `output:1`; `layer1.add`; `split:2` for the third of the tensors that `split` computes.
    fn of(name: &str, values: &HashMap<&str, usize>) -> Option<Self> {
        if let Some(&index) = values.get(name) {
            return Some(Self::Value(index, 0));
        }
        if let Some(number) = name.strip_prefix(OUTPUT) {
            return Some(Self::Output(number.parse().ok()?));
        }
        let (layer, part) = name.rsplit_once(':')?;
        Some(Self::Value(*values.get(layer)?, part.parse().ok()?))
    }
}

impl<'a> Wanted<'a> {
    fn of(request: &RunRequest<'a>, values: &[RString], has_budget: bool) -> Result<Self> {
        let is_lenient = request.fetch == Fetch::LAYERS;
        match request.fetch {
            Fetch::OUTPUTS => Ok(Self::Outputs(request.names.as_slice())),
            Fetch::NAMED | Fetch::LAYERS => {
                let values: HashMap<&str, usize> =
                    values.iter().enumerate().map(|(index, value)| (value.as_str(), index)).collect();
                let due = request.names.as_slice().iter().map(|name| {
                    let source = Source::of(name, &values).ok_or_else(|| {
                        BackendError::not_found(format!("libtorch does not compute `{name}` in this model"))
                    })?;
                    Ok(Due { name: name.as_str(), source, kept: None, is_delivered: false })
                });
                Ok(Self::Named {
                    due: due.collect::<Result<_>>()?,
                    delivered: 0,
                    is_lenient,
                    is_as_computed: is_lenient || has_budget,
                })
            }
            _ => Err(BackendError::unsupported_op("the engine delivers outputs and named values only")),
        }
    }

    /// For each of `count` values, whether it is due.
    fn flags(&self, count: usize) -> Vec<bool> {
        let mut flags = vec![false; count];
        if let Self::Named { due, .. } = self {
            for due in due {
                if let Source::Value(index, _) = due.source {
                    flags[index] = true;
                }
            }
        }
        flags
    }

    fn take(&mut self, source: &Source, tensor: &Tensor, sink: &mut Sink<'_>) -> Result<()> {
        let Self::Named { due, delivered, is_as_computed, .. } = self else { return Ok(()) };
        let Some(at) = due.iter().position(|due| due.source == *source) else { return Ok(()) };
        if *is_as_computed {
            tensor::deliver(due[at].name, tensor, sink)?;
            *delivered += 1;
            due[at].is_delivered = true;
        } else if at == *delivered {
            tensor::deliver(due[at].name, tensor, sink)?;
            *delivered += 1;
            while let Some(Due { name, kept: Some(tensor), .. }) = due.get(*delivered) {
                tensor::deliver(name, tensor, sink)?;
                due[*delivered].kept = None;
                *delivered += 1;
            }
        } else {
            due[at].kept = Some(tensor::copied(due[at].name, tensor)?);
        }
        Ok(())
    }

    fn finish(&mut self, outputs: Vec<(Option<String>, Tensor)>, sink: &mut Sink<'_>) -> Result<()> {
        if let Self::Outputs(names) = self {
            return deliver_outputs(names, &outputs, sink);
        }
        for (index, (_, tensor)) in outputs.into_iter().enumerate() {
            self.take(&Source::Output(index), &tensor, sink)?;
        }
        match self {
            Self::Named { due, delivered, is_lenient: false, is_as_computed } if *delivered < due.len() => {
                let missing = if *is_as_computed {
                    due.iter().find(|due| !due.is_delivered)
                } else {
                    due.get(*delivered)
                };
                let name = missing.map(|due| due.name).unwrap_or_default();
                Err(BackendError::runtime_failed(format!("`{name}` was not computed, or is not a tensor")))
            }
            _ => Ok(()),
        }
    }
}

fn deliver_outputs(
    names: &[RString],
    outputs: &[(Option<String>, Tensor)],
    sink: &mut Sink<'_>,
) -> Result<()> {
    let has_names = outputs.len() == names.len();
    for (index, (key, output)) in outputs.iter().enumerate() {
        let given = names.get(index).filter(|_| has_names).map(|name| name.to_string());
        let name = given.or_else(|| key.clone());
        let name = name.unwrap_or_else(|| {
            if outputs.len() == 1 { "output".to_owned() } else { format!("output_{index}") }
        });
        tensor::deliver(&name, output, sink)?;
    }
    Ok(())
}
