//! Hooks: functions that PyTorch calls before and after a module, which the file names.

use super::interpreter::{Frame, Interpreter};
use super::unsupported;
use super::value::Value;
use crate::eager::Module;
use qp_abi::sdk::Result;

/// The hooks of quantization, before and after a module: its child of that name observes what passes.
const OBSERVES: [&str; 2] = ["_observer_forward_pre_hook", "_observer_forward_hook"];
const OBSERVER: &str = "activation_post_process";

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
}
