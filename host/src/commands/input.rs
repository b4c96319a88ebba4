//! `input`: choose what models are run on.

use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::input::{self, Content, Fitted, Generator, Selection, shape_text};
use crate::playground::Playground;
use crate::render::report::{Cell, Report};
use crate::render::style::Tone;
use serde::Serialize;

/// `input random | zeros | FILE`
pub(super) struct Input;

/// The arguments of `input`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// `random`, `zeros`, FILE.npy, FILE.npz:KEY, a PNG or JPEG picture; `[3]` or `[0:8]` behind an array chooses samples
    #[arg(value_name = "PATH")]
    source: Option<String>,
    /// Where random values begin
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// The shape to make up, where the model does not say, as in 1,32,32,3
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    shape: Vec<u64>,
    /// Round values that the model's dtype cannot hold
    #[arg(long)]
    cast: bool,
}

#[derive(Serialize)]
struct Chosen {
    source: String,
    model: Option<String>,
    tensors: Vec<Described>,
    steps: Vec<String>,
}

#[derive(Serialize)]
struct Described {
    name: String,
    dtype: String,
    shape: Vec<u64>,
}

impl Command for Input {
    type Arguments = Arguments;
    const NAME: &'static str = "input";
    const SUMMARY: &'static str = "Choose what models are run on";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "use resnet8.onnx; input digits.npz:images[0]",
            shows: "the first of the sample digits",
        },
        Example {
            line: "use resnet8.onnx; input random --seed 7",
            shows: "values made up, the same on every machine",
        },
    ];

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        let Some(source) = &arguments.source else { return current(playground, scope) };
        let chosen = read(source, &arguments, playground)?;
        let report = describe(&chosen, playground, scope)?;
        playground.input = Some(chosen);
        Ok(report)
    }
}

fn read(source: &str, arguments: &Arguments, playground: &Playground) -> Result<input::Input> {
    let shape = (!arguments.shape.is_empty()).then(|| arguments.shape.clone());
    let sizes: Vec<String> = arguments.shape.iter().map(ToString::to_string).collect();
    let shape_text = if sizes.is_empty() { String::new() } else { format!(" --shape {}", sizes.join(",")) };
    let generated = |seed: Option<u64>, source: String| input::Input {
        source: format!("{source}{shape_text}"),
        content: Content::Generated(Generator { seed, shape: shape.clone() }),
        may_round: false,
    };
    match source {
        "random" => Ok(generated(Some(arguments.seed), format!("random --seed {}", arguments.seed))),
        "zeros" => Ok(generated(None, "zeros".to_owned())),
        text => {
            if shape.is_some() {
                return Err(Error::usage("`--shape` goes with `random` and `zeros` only"));
            }
            let (file, selection) = Selection::parse(text)?;
            let path = playground.path(file);
            let mut read = input::Input::from_file(&path, &selection, text.to_owned())?;
            read.may_round = arguments.cast;
            Ok(read)
        }
    }
}

fn current(playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
    match playground.input.clone() {
        Some(input) => describe(&input, playground, scope),
        None => {
            Err(Error::state("no input is chosen")
                .with_hint("Choose one with `input random` or `input FILE`."))
        }
    }
}

/// Checks the input against the current model, if there is one, and says what became of it.
fn describe(chosen: &input::Input, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
    let task = scope.ui.task(scope.cancel);
    let (model, fitted) = if playground.current.is_some() {
        let model = playground.model(None, &task)?;
        let sibling = playground.outspoken_sibling(&model, &task);
        (Some(model.id.clone()), chosen.fit(model.info(), sibling.as_ref())?)
    } else {
        (None, unfitted(chosen))
    };
    drop(task);
    let described: Vec<Described> = fitted
        .tensors
        .iter()
        .map(|tensor| Described {
            name: tensor.name.clone(),
            dtype: tensor.dtype.to_string(),
            shape: tensor.shape.clone(),
        })
        .collect();
    let mut fields = vec![("input".to_owned(), Cell::name(chosen.source.clone()))];
    fields.extend(described.iter().map(|tensor| {
        (tensor.name.clone(), Cell::text(format!("{} {}", tensor.dtype, shape_text(&tensor.shape))))
    }));
    if !fitted.steps.is_empty() {
        fields.push(("fitted".to_owned(), Cell::text(fitted.steps.join(", "))));
    }
    let text =
        model.as_ref().map_or("not checked: no model is chosen".to_owned(), |model| format!("fits {model}"));
    fields.push(("model".to_owned(), Cell::text(text).tone(Tone::Dim)));
    Ok(Report::new(&Chosen {
        source: chosen.source.clone(),
        model,
        tensors: described,
        steps: fitted.steps,
    })?
    .fields(fields))
}

fn unfitted(chosen: &input::Input) -> Fitted {
    let tensors = match &chosen.content {
        Content::Array(array) => vec![array.clone()],
        Content::Generated(_) | Content::Picture(_) => Vec::new(),
    };
    Fitted { tensors, steps: Vec::new() }
}
