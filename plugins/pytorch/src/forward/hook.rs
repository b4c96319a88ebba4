//! Hooks: functions that PyTorch calls before and after a module, which the file names.

use super::interpreter::{Frame, Interpreter};
use super::unsupported::unsupported;
use super::value::Value;
use crate::eager::Module;
use crate::pickle::{Global, Ref};
use qp_abi::sdk::Result;

/// The hooks of quantization, before and after a module: its child with that name observes what passes.
const OBSERVES: [&str; 2] = ["_observer_forward_pre_hook", "_observer_forward_hook"];
const OBSERVER: &str = "activation_post_process";

/// Modules that compute what their child `module` computes, on several devices.
const WRAPPERS: [(&str, &str); 2] = [
    ("torch.nn.parallel.data_parallel", "DataParallel"),
    ("torch.nn.parallel.distributed", "DistributedDataParallel"),
];
/// Wrappers within wrappers.
const MAX_WRAPPERS: usize = 8;

/// Hooks that compute a parameter anew from others before each call, and leave inputs and outputs as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Norm {
    /// The direction `_v` with the length `_g`.
    Weight,
    /// `_orig` divided by its largest singular value, as `_u` and `_v` tell it.
    Spectral,
}

impl Norm {
    fn of(callable: &Global) -> Option<Self> {
        if callable.is("torch.nn.utils.weight_norm", "WeightNorm") {
            Some(Self::Weight)
        } else if callable.is("torch.nn.utils.spectral_norm", "SpectralNorm") {
            Some(Self::Spectral)
        } else {
            None
        }
    }
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    After,
}

impl Interpreter<'_> {
    /// The first argument or the result of a module, as its hooks leave it.
    ///
    /// # Errors
    /// `UnsupportedOp` with the module and the hook, for one that is none of quantization's.
    pub(super) fn hooked(
        &mut self,
        module: &Module,
        moment: Moment,
        value: Value,
        frame: &Frame,
    ) -> Result<Value> {
        let kind = if moment == Moment::Before { "_forward_pre_hooks" } else { "_forward_hooks" };
        let pickle = self.rebuild.pickle;
        let hooks = module.attributes.get(kind).and_then(|at| pickle.entries(*at)).unwrap_or_default();
        let mut value = value;
        for (_, hook) in hooks {
            let callable = pickle.global(hook).or_else(|| pickle.callable(pickle.object(hook)?));
            let observer = module.child(OBSERVER);
            value = match (callable, observer) {
                (Some(callable), Some(observer))
                    if callable.module.ends_with("quantization.quantize")
                        && OBSERVES.contains(&callable.name.as_str()) =>
                {
                    self.call(Value::Module(observer), vec![value], Vec::new(), frame)?
                }
                (Some(callable), _) if moment == Moment::Before && Norm::of(callable).is_some() => value,
                _ => {
                    let name = callable.map_or_else(|| "a function".to_owned(), |name| format!("`{name}`"));
                    return Err(unsupported(format!(
                        "`{}` (`{}`): {name} is hooked to it, which may change its values",
                        module.path, module.class.name
                    )));
                }
            };
        }
        Ok(value)
    }

    /// The module that computes what the one at `at` does, which may be wrapped for several devices.
    pub(super) fn unwrapped(&self, at: Ref) -> Ref {
        let pickle = self.rebuild.pickle;
        let inner = |at: Ref| {
            let module = self.modules.all.get(&at)?;
            let is_wrapper = WRAPPERS.iter().any(|(place, name)| module.class.is(place, name));
            let mut hooks = ["_forward_pre_hooks", "_forward_hooks"].into_iter().filter_map(|kind| {
                pickle.entries(*module.attributes.get(kind)?).filter(|hooks| !hooks.is_empty())
            });
            let child = module.child("module").filter(|child| self.modules.all.contains_key(child));
            child.filter(|_| is_wrapper && hooks.next().is_none())
        };
        std::iter::successors(Some(at), |at| inner(*at)).take(MAX_WRAPPERS).last().unwrap_or(at)
    }

    /// The parameter `name` of the module at `at`, if a hook computes it before each call. Source: `compute_weight` in
    /// `torch/nn/utils/weight_norm.py` and `spectral_norm.py`, in evaluation mode.
    ///
    /// # Errors
    /// `UnsupportedOp` when the file lacks what it is computed of.
    pub(super) fn normalized(&mut self, at: Ref, name: &str) -> Result<Option<Value>> {
        let pickle = self.rebuild.pickle;
        let module = self.module(at)?;
        let hooks = module.attributes.get("_forward_pre_hooks").and_then(|at| pickle.entries(*at));
        let found = hooks.unwrap_or_default().into_iter().find_map(|(_, hook)| {
            let object = pickle.object(hook)?;
            let norm = Norm::of(pickle.callable(object)?)?;
            let attributes = pickle.attributes(object)?;
            let of = pickle.entry(attributes, "name").and_then(|at| pickle.text(at));
            (of == Some(name)).then(|| (norm, pickle.entry(attributes, "dim").and_then(|at| pickle.int(at))))
        });
        let Some((norm, dim)) = found else { return Ok(None) };
        if let Some(known) = self.normalized.get(&(at, name.to_owned())) {
            return Ok(Some(known.clone()));
        }
        let part = |suffix: &str| {
            let stored = module.tensors.get(&format!("{name}{suffix}")).cloned();
            stored.map(Value::Stored).ok_or_else(|| {
                unsupported(format!("`{}` has no `{}{suffix}` in the file", module.path, name.escape_debug()))
            })
        };
        let value = match (norm, dim) {
            (Norm::Weight, Some(dim)) => {
                self.emit_plain("aten::_weight_norm", vec![part("_v")?, part("_g")?, Value::Int(dim)])?
            }
            // Behind the second axis, the columns would be in another order.
            (Norm::Spectral, Some(dim @ (0 | 1))) => {
                let (weight, left, right) = (part("_orig")?, part("_u")?, part("_v")?);
                let turned =
                    self.emit_plain("aten::transpose", vec![weight.clone(), Value::Int(0), Value::Int(dim)])?;
                let matrix = self.emit_plain("aten::flatten", vec![turned, Value::Int(1)])?;
                let product = self.emit_plain("aten::mv", vec![matrix, right])?;
                let length = self.emit_plain("aten::dot", vec![left, product])?;
                self.emit_plain("aten::div", vec![weight, length])?
            }
            _ => {
                return Err(unsupported(format!(
                    "`{}`: `{}` is normalized along an axis that is not known",
                    module.path,
                    name.escape_debug()
                )));
            }
        };
        self.normalized.insert((at, name.to_owned()), value.clone());
        Ok(Some(value))
    }
}
