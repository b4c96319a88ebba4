//! Turns a program and its stored tensors into a module that runs.

use crate::error::{failed, refusal, refused_operator};
use crate::graph::{self, Graph};
use crate::shim::Module;
use qp_abi::abi_stable::std_types::Tuple2;
use qp_abi::sdk::{BackendError, RString, Result};
use qp_pytorch_contract::operator_list::{Standing, standing};
use qp_pytorch_contract::program::{Argument, Call, PYTHON, Program, Register};
use tch::Tensor;

/// The most nested lists and tuples in one argument.
const MAX_LISTS: usize = 100;

/// Builds the module of a program. `stored` has one tensor for each that the program names, in its order.
///
/// # Errors
/// `UnsupportedOp` for an operator that libtorch lacks, with the node that calls it; `RuntimeFailed` when libtorch
/// rejects a call.
pub(crate) fn prepare(program: &Program, stored: Vec<Tensor>) -> Result<Module> {
    for call in program.setup.iter().chain(&program.calls) {
        check(call)?;
    }
    let stored: Vec<(Register, Tensor)> =
        program.stored.iter().map(|stored| stored.register).zip(stored).collect();
    let refused =
        |text: String| refusal(&text).unwrap_or_else(|| failed("libtorch cannot prepare the model", text));
    let mut graph = Graph::new(&stored).map_err(refused)?;
    let add = |graph: &mut Graph, call: &Call| -> Result<()> {
        graph.call(call).map_err(|text| {
            failed(&format!("libtorch refuses `{}` at `{}`", operator(call), call.place), text)
        })
    };
    for call in &program.setup {
        add(&mut graph, call)?;
    }
    if !program.setup.is_empty() {
        graph.freeze().map_err(|text| {
            refusal(&text).unwrap_or_else(|| failed("libtorch cannot pack the weights", text))
        })?;
    }
    for input in &program.inputs {
        graph.input(input.register, input.is_int).map_err(refused)?;
    }
    let mut taps = 0..;
    for call in &program.calls {
        add(&mut graph, call)?;
        let tapped = call.results.all().iter().filter(|result| result.name.is_some());
        for (result, number) in tapped.zip(&mut taps) {
            graph.tap(result.register, number).map_err(refused)?;
        }
    }
    for Tuple2(_, output) in &program.outputs {
        graph.output(output).map_err(refused)?;
    }
    graph.finish().map_err(refused)
}

/// The names of what can be captured, in the order of the taps.
pub(crate) fn tapped(program: &Program) -> impl Iterator<Item = &str> {
    program
        .calls
        .iter()
        .flat_map(|call| call.results.all())
        .filter_map(|result| result.name.as_ref().into_option().map(RString::as_str))
}

/// An operator with its overload, as PyTorch writes it.
fn operator(call: &Call) -> String {
    match overload(call) {
        None | Some("") => call.operator.to_string(),
        Some(overload) => format!("{}.{overload}", call.operator),
    }
}

fn overload(call: &Call) -> Option<&str> {
    call.overload.as_ref().into_option().map(RString::as_str)
}

/// Whether lists and tuples are nested no deeper than this.
fn is_within(argument: &Argument, depth: usize) -> bool {
    match argument {
        Argument::List(elements) | Argument::Tuple(elements) => {
            depth > 0 && elements.iter().all(|element| is_within(element, depth - 1))
        }
        _ => true,
    }
}

fn check(call: &Call) -> Result<()> {
    call.branches.iter().flat_map(|branch| &branch.calls).try_for_each(check)?;
    let keywords = call.keywords.iter().map(|Tuple2(_, argument)| argument);
    if !call.arguments.iter().chain(keywords).all(|argument| is_within(argument, MAX_LISTS)) {
        let message = format!("`{}` receives lists that are nested too deeply", call.place);
        return Err(BackendError::unsupported_op(message).with_help("Save the model again without them."));
    }
    if call.operator.split("::").next() == Some(PYTHON) {
        return Ok(());
    }
    if matches!(standing(&call.operator), Standing::Refused(_) | Standing::Unsafe(_)) {
        return Err(refused_operator(&call.operator, &call.place));
    }
    if standing(&call.operator) == Standing::Allowed && graph::overloads(&call.operator, overload(call)) > 0 {
        return Ok(());
    }
    let message = format!("libtorch has no operator `{}`, which `{}` calls", operator(call), call.place);
    Err(BackendError::unsupported_op(message).with_help(
        "Export the model with operators of PyTorch itself: `exported.run_decompositions()` replaces many others.",
    ))
}
