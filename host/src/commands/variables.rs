//! `let`: the variables of the command language.

use super::{Command, Example, Group, Scope};
use crate::error::Result;
use crate::language::variable::assignment;
use crate::playground::Playground;
use crate::render::record::{Field, Kind, Record, ReportShape};
use crate::render::report::{Cell, Report};
use serde_json::{Map, Value};

/// `let [NAME = VALUE]`
pub(super) struct Let;

/// The arguments of `let`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// NAME = VALUE; without it, list the variables
    #[arg(value_name = "NAME = VALUE", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

struct Values {
    by_name: Map<String, Value>,
}

impl Record for Values {
    fn fields() -> Vec<Field<Self>> {
        let kind = Kind::AnyOf(vec![Kind::Real, Kind::Text]);
        vec![Self::names("Value of the variable with this name", kind, |values| values.by_name.clone())]
    }
}

impl Command for Let {
    type Arguments = Arguments;
    const NAME: &'static str = "let";
    const SUMMARY: &'static str = "Set a variable that `$NAME` stands for";
    const GROUP: Group = Group::Session;
    const EXAMPLES: &'static [Example] = &[
        Example { line: "let net = resnet8_int8.onnx; info $net", shows: "a variable instead of the name" },
        Example { line: "let", shows: "all variables" },
    ];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Values>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let is_set = !arguments.words.is_empty();
        if is_set {
            let (name, value) = assignment(&arguments.words.join(" "))?;
            playground.variables.set(name, value);
        }
        let by_name = playground.variables.iter().map(|(name, value)| (name.to_owned(), value.clone()));
        let values = Values { by_name: by_name.collect() };
        let fields = values.by_name.iter().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), Cell::text(text))
        });
        Ok(Report::of(&values).fields(fields.collect()).preparation(is_set))
    }
}
