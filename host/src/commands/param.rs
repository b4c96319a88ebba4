//! `param`: a script's parameters.

use super::{Command, Example, Group, Scope};
use crate::error::{Error, Result};
use crate::language::variable::{checked_name, value_of};
use crate::playground::Playground;
use crate::render::record::{Field, Record, ReportShape, Unit};
use crate::render::report::Report;
use crate::render::style::Tone;

/// `param NAME [DEFAULT]`
pub(super) struct Param;

/// The arguments of `param`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The name: `qp run FILE -- --NAME VALUE` gives a value, and `$NAME` stands for it
    #[arg(value_name = "NAME")]
    name: String,
    /// The value if none is given; without a default, one is required
    #[arg(value_name = "DEFAULT", allow_hyphen_values = true)]
    default: Option<String>,
}

struct Given {
    name: String,
    value: String,
    is_default: bool,
}

impl Record for Given {
    fn fields() -> Vec<Field<Self>> {
        vec![
            Self::field("name", Unit::Name, "The name", |given| given.name.clone()),
            Self::field("value", Unit::Text, "The value", |given| given.value.clone()),
            Self::field("is_default", Unit::Flag, "Whether it is the default", |given| given.is_default),
        ]
    }
}

impl Command for Param {
    type Arguments = Arguments;
    const NAME: &'static str = "param";
    const SUMMARY: &'static str = "Declare a parameter, set with `qp run FILE -- --NAME VALUE`";
    const GROUP: Group = Group::Script;
    const EXAMPLES: &'static [Example] = &[Example {
        line: "param model resnet8_int8.onnx; info $model",
        shows: "the int8 model, unless another one is given",
    }];

    fn reports() -> Vec<ReportShape> {
        vec![ReportShape::of::<Given>(1)]
    }

    fn run(arguments: Arguments, playground: &mut Playground, _: &Scope<'_>) -> Result<Report> {
        let Arguments { name, default } = arguments;
        checked_name(&name, "parameter")?;
        let given = playground.params.get(&name).cloned();
        let is_default = given.is_none();
        let value = given.or(default).ok_or_else(|| {
            Error::usage(format!("the script needs a value for `{name}`"))
                .with_hint(format!("Give it, as in `qp run FILE -- --{name} VALUE`."))
        })?;
        playground.variables.set(name.clone(), value_of(&value));
        let given = Given { name, value, is_default };
        Ok(Report::of(&given).preparation(true).toned_line([
            (Tone::Name, given.name),
            (Tone::Plain, format!(" = {}", given.value)),
            (Tone::Dim, if given.is_default { " (default)".to_owned() } else { String::new() }),
        ]))
    }
}
