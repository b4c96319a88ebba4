//! The calls of a program as lines to read.

use crate::document::Document;
use crate::document::listing::{Listing, Method, Step};
use qp_abi::abi_stable::std_types::Tuple2;
use qp_abi::sdk::{LayerInfo, RNone, RSome};
use qp_pytorch_contract::program::{Argument, Call, CallResult, Program, Register};
use std::collections::{HashMap, HashSet};

/// Characters of a text among the arguments.
const MAX_TEXT: usize = 40;
/// Elements of a list among the arguments.
const MAX_ELEMENTS: usize = 16;

/// What `layer` computes, or without one the whole program: the code that the file has of it, and the calls that are
/// made of it.
pub fn listing(document: &Document, program: &Program, layer: Option<&LayerInfo>) -> Listing {
    let path = layer.map(|layer| layer.path.to_string()).unwrap_or_default();
    let own = document.code.iter().find(|code| code.path == path);
    let methods = own.map(|code| Method { name: "forward".to_owned(), text: code.text.trim().to_owned() });
    let is_export = document.info.format == "pt2";
    let class = match (own, layer) {
        (Some(code), _) => code.class.clone(),
        (None, Some(layer)) if is_export || layer.domain.is_empty() => layer.op_type.to_string(),
        (None, Some(layer)) => format!("{}.{}", layer.domain, layer.op_type),
        (None, None) => String::new(),
    };
    Listing {
        language: if is_export { "exported graph" } else { "Python" },
        inlined: steps(document, program, &path),
        layer: path,
        class,
        methods: methods.into_iter().collect(),
    }
}

/// The calls that belong to a layer or to what is below it.
fn steps(document: &Document, program: &Program, path: &str) -> Vec<Step> {
    let layers: HashMap<&str, &str> = document
        .info
        .layers
        .iter()
        .flat_map(|layer| layer.outputs.iter().map(|output| (output.as_str(), layer.path.as_str())))
        .collect();
    let known: HashSet<&str> = document.info.layers.iter().map(|layer| layer.path.as_str()).collect();
    let names = names(program);
    let mut steps = Vec::new();
    for call in program.setup.iter().chain(&program.calls) {
        let of_result = call
            .results
            .all()
            .iter()
            .find_map(|result| layers.get(result.name.as_ref().into_option()?.as_str()).copied());
        let of_place = known.contains(call.place.as_str()).then_some(call.place.as_str());
        let layer = of_result.or(of_place).unwrap_or_default();
        let is_within = path.is_empty()
            || layer.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if is_within {
            add_lines(call, layer, 0, &names, &mut steps);
        }
    }
    steps
}

/// A call, and below it the calls of its branches.
fn add_lines(call: &Call, layer: &str, depth: u16, names: &HashMap<Register, String>, steps: &mut Vec<Step>) {
    let mut add = |depth, text| steps.push(Step { layer: layer.to_owned(), depth, text });
    add(depth, line(call, names));
    for (branch, when) in call.branches.iter().zip(["if it is true:", "if it is not:"]) {
        steps.push(Step { layer: layer.to_owned(), depth: depth + 1, text: when.to_owned() });
        for call in &branch.calls {
            add_lines(call, layer, depth + 2, names, steps);
        }
        let results: Vec<String> = branch.results.iter().map(|result| shown(result, names)).collect();
        let text = format!("yield {}", results.join(", "));
        steps.push(Step { layer: layer.to_owned(), depth: depth + 2, text });
    }
}

/// The results of calls, those within branches too.
fn add_results<'a>(calls: &'a [Call], results: &mut Vec<&'a CallResult>) {
    for call in calls {
        results.extend(call.results.all());
        call.branches.iter().for_each(|branch| add_results(&branch.calls, results));
    }
}

/// A name for each value: its own, or a number.
fn names(program: &Program) -> HashMap<Register, String> {
    let mut names = HashMap::new();
    names.extend(program.inputs.iter().map(|input| (input.register, input.name.to_string())));
    names.extend(program.stored.iter().map(|stored| (stored.register, stored.name.to_string())));
    let mut results = Vec::new();
    add_results(&program.setup, &mut results);
    add_results(&program.calls, &mut results);
    names.extend(results.into_iter().map(|result| {
        let name = match &result.name {
            RSome(name) => name.to_string(),
            RNone => format!("%{}", result.register.0),
        };
        (result.register, name)
    }));
    names
}

fn line(call: &Call, names: &HashMap<Register, String>) -> String {
    let results: Vec<String> = call.results.all().iter().map(|result| name(result.register, names)).collect();
    let mut operator = call.operator.replace("::", ".");
    if let RSome(overload) = &call.overload
        && !overload.is_empty()
    {
        operator = format!("{operator}.{overload}");
    }
    let arguments = call.arguments.iter().map(|argument| shown(argument, names));
    let keywords =
        call.keywords.iter().map(|Tuple2(key, argument)| format!("{key}={}", shown(argument, names)));
    let arguments: Vec<String> = arguments.chain(keywords).collect();
    format!("{} = {operator}({})", results.join(", "), arguments.join(", "))
}

fn name(register: Register, names: &HashMap<Register, String>) -> String {
    names.get(&register).cloned().unwrap_or_else(|| format!("%{}", register.0))
}

fn shown(argument: &Argument, names: &HashMap<Register, String>) -> String {
    match argument {
        Argument::None => "None".to_owned(),
        Argument::Bool(flag) => if *flag { "True" } else { "False" }.to_owned(),
        Argument::Int(number) | Argument::Code(number) => number.to_string(),
        Argument::Float(number) => format!("{number:?}"),
        Argument::Complex(real, imaginary) => format!("({real:?}+{imaginary:?}j)"),
        Argument::Text(text) => {
            let short: String = text.chars().take(MAX_TEXT).collect();
            format!("'{}'", short.escape_debug())
        }
        Argument::Device => "cpu".to_owned(),
        Argument::Value(register) => name(*register, names),
        Argument::List(elements) | Argument::Tuple(elements) => {
            let mut parts: Vec<String> =
                elements.iter().take(MAX_ELEMENTS).map(|element| shown(element, names)).collect();
            if elements.len() > MAX_ELEMENTS {
                parts.push("…".to_owned());
            }
            format!("[{}]", parts.join(", "))
        }
    }
}
