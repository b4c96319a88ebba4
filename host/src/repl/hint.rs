//! What may come next when no earlier line begins like this one: what the command does and takes.

use super::complete::{Place, words_before};
use crate::commands;

/// After a command and a space: what it does, or what comes next.
pub fn usage(line: &str) -> Option<String> {
    let (words, start) = words_before(line);
    let (command, arguments) = words.split_first()?;
    if start < line.len() {
        return None;
    }
    let entry = commands::find(command)?;
    let mut definition = entry.definition();
    let mut arguments = arguments;
    while let Some(nested) = arguments.first().and_then(|name| definition.find_subcommand(name)).cloned() {
        definition = nested;
        arguments = &arguments[1..];
    }
    let names = |argument: &clap::Arg| {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let text = match Place::after(&definition, arguments) {
        Place::Value(option) => names(option),
        Place::Positional(argument) if argument.is_required_set() => names(argument),
        Place::Positional(argument) => format!("[{}]", names(argument)),
        Place::End => String::new(),
    };
    match (arguments.is_empty(), text.is_empty()) {
        (true, true) => Some(entry.summary.to_owned()),
        (true, false) => Some(format!("{text}  {}", entry.summary)),
        (false, true) => None,
        (false, false) => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_argument_is_named_and_a_command_explained() {
        let said = |line: &str| usage(line).unwrap_or_default();
        assert_eq!(said("layers "), "[MODEL]  List a model's layers");
        assert_eq!(said("models; layers --op "), "OP_TYPE");
        assert_eq!(said("pwd "), "Show the folder where relative paths start");
        assert_eq!(
            [said("layers"), said("layers m"), said("nonsense "), said("layers m ")],
            ["", "", "", ""]
        );
    }
}
