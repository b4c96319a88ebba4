//! `input`: choose what models run on.

use super::arguments::number::integer_in;
use super::arguments::pictures::Pictures;
use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::input::{self, Content, Fill, Fitted, Generator, Selection};
use crate::model::{DType, Tensor, ValueInfo, shape_text};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::{Cell, Report};
use crate::render::style::Tone;
use std::sync::Arc;

/// `input random | zeros | FILE`
pub(super) struct Input;

/// The arguments of `input`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// `random`, `zeros`, `ones`, FILE.npy, FILE.npz:KEY, FILE.npz whose arrays are named like the model's inputs, a PNG or JPEG picture, raw elements in FILE.bin, a folder of samples, or the name of a data set; `[3]` or `[0:8]` after an array or a folder chooses samples; for a model with several inputs NAME=SOURCE for each
    #[arg(value_name = "DATA")]
    sources: Vec<String>,
    /// The seed of random values: any whole number; the same one gives the same values
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// The distribution of random floats: uniform from 0 to 1, or normal with mean 0 and standard deviation 1
    #[arg(long = "dist", value_enum, value_name = "KIND", default_value_t)]
    distribution: Distribution,
    /// How many samples to generate, from 1 to 1,000,000
    #[arg(long, value_name = "COUNT", value_parser = integer_in::<u64>(1..=1_000_000))]
    batch: Option<u64>,
    /// The largest random integer, from 0 on, such as the last token; without it 255, or the largest of the dtype
    #[arg(long = "max", value_name = "NUMBER", value_parser = integer_in::<i64>(0..))]
    largest: Option<i64>,
    /// The shape of generated values, or of a raw file, if the model does not say, as in 1,32,32,3
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    shape: Vec<u64>,
    /// The type of a raw file's elements, as in float32
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<String>,
    #[command(flatten)]
    pictures: Pictures,
    /// Round values that the model's dtype cannot hold
    #[arg(long)]
    cast: bool,
}

/// Samples of a folder, or generated ones, that are fitted as soon as they are chosen.
const MOST_CHECKED: u64 = 16;

/// The distribution of random floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Distribution {
    /// Between 0 and 1
    #[default]
    Uniform,
    /// Mean 0, standard deviation 1
    Normal,
}

struct Chosen {
    source: String,
    model: Option<String>,
    tensors: Vec<Described>,
    steps: Vec<String>,
}

struct Described {
    name: String,
    dtype: String,
    shape: Vec<u64>,
}

impl Record for Chosen {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("source", Unit::Text, "Where the samples come from", |chosen| chosen.source.clone()),
            Self::field(
                "model",
                Unit::Name,
                "The model that the input was fitted to; null if no model that can run is chosen",
                |chosen| chosen.model.clone(),
            ),
            Self::list("tensors", "The tensors, as the model takes them", |chosen| &chosen.tensors),
            Self::field("steps", Unit::Text, "What was done to make them fit", |chosen| chosen.steps.clone()),
        ]
    }
}

impl Record for Described {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "Name of the model's input", |tensor| tensor.name.clone()),
            Self::field("dtype", Unit::Text, "Element type", |tensor| tensor.dtype.clone()),
            Self::field("shape", Unit::Index, "Its shape", |tensor| tensor.shape.clone()),
        ]
    }
}

impl Command for Input {
    type Arguments = Arguments;
    const NAME: &'static str = "input";
    const SUMMARY: &'static str = "Choose what models run on";
    const GROUP: Group = Group::Run;
    const EXAMPLES: &'static [Example] = &[
        Example {
            line: "use resnet8.onnx; input digits.npz:images[0]",
            shows: "the first of the sample digits",
        },
        Example {
            line: "use resnet8.onnx; input random --seed 7 --batch 4",
            shows: "generated values, the same on every machine",
        },
        Example {
            line: "input image=zeros mask=ones",
            shows: "one source for each input of a model with several",
        },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Chosen>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
        if arguments.sources.is_empty() {
            return current(playground, scope);
        }
        let chosen = read(&arguments, playground, scope)?;
        let report = describe(&chosen, playground, scope)?.preparation(true);
        playground.input = Some(Arc::new(chosen));
        Ok(report)
    }
}

/// Reads all sources: one for every input of a model, or one for each by its name.
fn read(arguments: &Arguments, playground: &mut Playground, scope: &Scope<'_>) -> Result<input::Input> {
    let mut source: Vec<String> = arguments.sources.clone();
    if let [one] = &arguments.sources[..]
        && let Some(dataset) = playground.dataset(one)?
    {
        let input = input::Input { may_round: arguments.cast, ..(*dataset.input).clone() };
        return Ok(input);
    }
    let contents = match &arguments.sources[..] {
        [one] if named(one).is_none() => content(one, arguments, None, playground, scope)?,
        several => {
            let parts = several.iter().map(|text| {
                let (name, text) = named(text).ok_or_else(|| {
                    Error::usage(format!("`{text}` does not say which input it is for"))
                        .with_hint("With several, write each as `NAME=SOURCE`.")
                })?;
                Ok((name.to_owned(), content(text, arguments, Some(name), playground, scope)?))
            });
            Content::Named(parts.collect::<Result<_>>()?)
        }
    };
    let is_random = source.iter().any(|source| source.ends_with("random"));
    if arguments.largest.is_some() && !is_random {
        return Err(Error::usage("`--max` only works with `random`"));
    }
    if is_random {
        source.push(format!("--seed {}", arguments.seed));
    }
    if !arguments.shape.is_empty() {
        let sizes: Vec<String> = arguments.shape.iter().map(ToString::to_string).collect();
        source.push(format!("--shape {}", sizes.join(",")));
    }
    if arguments.distribution != Distribution::Uniform {
        source.push("--dist normal".to_owned());
    }
    if let Some(batch) = arguments.batch {
        source.push(format!("--batch {batch}"));
    }
    if let Some(largest) = arguments.largest {
        source.push(format!("--max {largest}"));
    }
    Ok(input::Input { source: source.join(" "), content: contents, may_round: arguments.cast })
}

/// The number that a source is; flags are 1 and 0.
fn number(text: &str) -> Option<f64> {
    match text {
        "true" => Some(1.0),
        "false" => Some(0.0),
        text => text.parse().ok(),
    }
}

/// The name and the source in `NAME=SOURCE`; a path may hold an equals sign after a separator.
fn named(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains(['/', '\\']))
}

fn content(
    text: &str,
    arguments: &Arguments,
    name: Option<&str>,
    playground: &mut Playground,
    scope: &Scope<'_>,
) -> Result<Content> {
    let shape = (!arguments.shape.is_empty()).then(|| arguments.shape.clone());
    let generated = |fill: Fill| {
        Ok(Content::Generated(Generator {
            fill,
            shape: shape.clone(),
            batch: arguments.batch,
            largest: arguments.largest,
            window: None,
        }))
    };
    match text {
        "random" => {
            return generated(match arguments.distribution {
                Distribution::Uniform => Fill::Uniform(arguments.seed),
                Distribution::Normal => Fill::Normal(arguments.seed),
            });
        }
        "zeros" => return generated(Fill::Zeros),
        "ones" => return generated(Fill::Ones),
        _ => {}
    }
    // A number or a flag for an input without dimensions, as in `sr=16000`.
    if name.is_some()
        && let Some(number) = number(text)
        && !playground.path(text).exists()
    {
        return Ok(Content::Array(input::scalar(number)));
    }
    if arguments.batch.is_some() {
        return Err(Error::usage("`--batch` only works with `random`, `zeros` and `ones`")
            .with_hint("To choose samples of a file, write `FILE[0:8]`."));
    }
    let (file, selection) = Selection::parse(text)?;
    let path = playground.path(file);
    let is_raw = path
        .extension()
        .is_some_and(|ending| ["bin", "raw"].iter().any(|raw| ending.eq_ignore_ascii_case(raw)));
    if is_raw {
        let value = expected(name, playground, scope)?;
        let dtype = arguments.dtype.as_deref().map(parse_dtype).transpose()?;
        return Ok(Content::Array(input::raw(&path, dtype, shape.as_deref(), value.as_ref())?));
    }
    if shape.is_some() || arguments.dtype.is_some() {
        return Err(Error::usage("`--shape` and `--dtype` only work with generated values and raw files"));
    }
    let options = arguments.pictures.options()?;
    Content::read(&path, &selection, &options)
}

/// What the current model declares for its input, or for the one with this name.
fn expected(name: Option<&str>, playground: &mut Playground, scope: &Scope<'_>) -> Result<Option<ValueInfo>> {
    if playground.current.is_none() {
        return Ok(None);
    }
    let task = scope.ui.task(scope.cancel);
    let model = playground.model(None, &task)?;
    let sibling = playground.outspoken_sibling(&model, &task);
    let declared = input::declared(model.info(), sibling.as_ref());
    Ok(match name {
        Some(name) => declared.into_iter().find(|value| value.name == name),
        None => declared.into_iter().next(),
    })
}

fn parse_dtype(text: &str) -> Result<DType> {
    let known = [
        DType::UINT8,
        DType::INT8,
        DType::UINT16,
        DType::INT16,
        DType::INT32,
        DType::INT64,
        DType::FLOAT16,
        DType::BFLOAT16,
        DType::FLOAT32,
        DType::FLOAT64,
        DType::BOOL,
    ];
    known.into_iter().find(|dtype| dtype.to_string() == text).ok_or_else(|| {
        let names: Vec<String> = known.iter().map(ToString::to_string).collect();
        Error::usage(format!("`{text}` is not a dtype"))
            .with_hint(format!("Choose one of {}.", names.join(", ")))
    })
}

fn current(playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
    let input = playground.chosen_input()?;
    describe(&input, playground, scope)
}

/// Checks the input against the current model, if there is one, and reports the result.
fn describe(chosen: &input::Input, playground: &mut Playground, scope: &Scope<'_>) -> Result<Report> {
    let task = scope.ui.task(scope.cancel);
    let mut unchecked = "not checked: no model is chosen".to_owned();
    let mut current = playground.current.is_some().then(|| playground.model(None, &task)).transpose()?;
    if let Some(model) = current.take_if(|model| model.runnable().is_err()) {
        unchecked = format!("not checked: {} cannot be run", model.id);
    }
    let (model, fitted) = if let Some(model) = current {
        let sibling = playground.outspoken_sibling(&model, &task);
        // Of many samples only the first few are checked: the others are read when they are run.
        let count = chosen.sample_count(model.info(), sibling.as_ref());
        let fixed = input::fixed_batch(model.info(), sibling.as_ref());
        let looked_at = match (&chosen.content, fixed) {
            (Content::Array(_), None) => count,
            (_, Some(fixed)) => fixed.min(count),
            (_, None) => count.min(MOST_CHECKED),
        };
        let part = if looked_at < count { chosen.samples(0, looked_at) } else { chosen.clone() };
        let mut fitted = part.fit(model.info(), sibling.as_ref())?;
        if looked_at < count {
            fitted.steps.push(format!("{looked_at} of {count} samples checked"));
        }
        (Some(model.id.clone()), fitted)
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
    let text = model.as_ref().map_or(unchecked, |model| format!("fits {model}"));
    fields.push(("model".to_owned(), Cell::text(text).tone(Tone::Dim)));
    let source = chosen.source.clone();
    Ok(Report::of(&Chosen { source, model, tensors: described, steps: fitted.steps }).fields(fields))
}

fn unfitted(chosen: &input::Input) -> Fitted {
    let array = |content: &Content| match content {
        Content::Array(array) => Some(array.clone()),
        Content::Stored(stored) => Some(stored.outline()),
        Content::Pixels(pixels, _) => {
            let (dtype, shape) = pixels.outline()?;
            let name = "images".to_owned();
            Some(Tensor { name, dtype, shape, bytes: Vec::new(), quantization: None })
        }
        _ => None,
    };
    let tensors = match &chosen.content {
        Content::Archive(_, parts) | Content::Named(parts) => parts
            .iter()
            .filter_map(|(name, part)| Some(Tensor { name: name.clone(), ..array(part)? }))
            .collect(),
        content => array(content).into_iter().collect(),
    };
    Fitted { tensors, steps: Vec::new() }
}
