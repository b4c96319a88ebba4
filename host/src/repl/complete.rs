//! Completion of commands, options, models, backends and paths.

use crate::commands;
use crate::language::block;
use crate::language::token::is_name;
use crate::playground::Playground;
use crate::printable;
use std::path::{Path, PathBuf};

/// The names of a session that can be completed.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// Models and families.
    pub models: Vec<String>,
    /// Layers of the current model.
    pub layers: Vec<String>,
    /// Data sets.
    pub datasets: Vec<String>,
    /// Ids of plugins.
    pub backends: Vec<String>,
    /// Names of variables.
    pub variables: Vec<String>,
    /// Where relative paths start.
    pub base: PathBuf,
}

impl Vocabulary {
    /// The names of this session.
    pub fn of(playground: &Playground) -> Self {
        let names = playground.names();
        let mut models: Vec<String> = names.iter().map(|named| named.id.clone()).collect();
        models.extend(names.iter().map(|named| named.family.clone()));
        models.sort();
        models.dedup();
        let current = playground.current.as_ref();
        let loaded = playground.loaded().find(|loaded| Some(&loaded.path) == current);
        Self {
            models,
            layers: loaded
                .iter()
                .flat_map(|loaded| &loaded.info().layers)
                .map(|layer| layer.path.clone())
                .collect(),
            datasets: playground.datasets.keys().cloned().collect(),
            backends: playground.backends.plugins().iter().map(|plugin| plugin.id().to_owned()).collect(),
            variables: playground.variables.iter().map(|(name, _)| name.to_owned()).collect(),
            base: playground.base.clone(),
        }
    }
}

/// What could stand at the end of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completions {
    /// Where the word to replace begins, in bytes.
    pub start: usize,
    /// The candidates.
    pub candidates: Vec<Candidate>,
}

/// One completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The text in the list.
    pub shown: String,
    /// The text inserted in the line: quoted if needed, with what follows.
    pub inserted: String,
}

/// The completions of the last word of `line`, which ends at the cursor.
pub fn complete(line: &str, vocabulary: &Vocabulary) -> Completions {
    let (earlier, start) = words_before(line);
    let typed = &line[start..];
    let (quote, partial) = match typed.chars().next() {
        Some(quote @ ('"' | '\'')) => (Some(quote), typed[1..].to_owned()),
        _ => (None, typed.replace('\\', "")),
    };
    let found = match earlier.split_first() {
        None => {
            let names = commands::TABLE.iter().map(|entry| entry.name);
            names.chain(block::KEYWORDS.map(|(name, _)| name)).map(|name| (name.to_owned(), true)).collect()
        }
        _ if quote.is_none() && partial.starts_with('$') => vocabulary
            .variables
            .iter()
            .filter(|name| is_name(name))
            .map(|name| (format!("${name}"), true))
            .collect(),
        // The words of a loop: mostly models.
        Some((command, [_, _, ..])) if command == "for" => {
            let mut values = paths(&vocabulary.base, &partial);
            values.extend(vocabulary.models.iter().map(|name| (name.clone(), true)));
            values
        }
        Some((command, arguments)) => match commands::find(command) {
            Some(entry) => arguments_of(&entry.definition(), arguments, &partial, vocabulary),
            None => Vec::new(),
        },
    };
    let mut candidates: Vec<Candidate> = found
        .into_iter()
        // Text that cannot be shown must not be inserted either: it would reach the terminal unchanged.
        .filter(|(text, _)| text.starts_with(&partial) && printable::is_line(text))
        .map(|(text, is_whole)| Candidate { inserted: quoted(&text, quote, is_whole), shown: text })
        .collect();
    candidates.sort_by(|one, other| one.shown.cmp(&other.shown));
    candidates.dedup();
    Completions { start, candidates }
}

/// The words of the last statement before its last word, and where that word begins.
fn words_before(line: &str) -> (Vec<String>, usize) {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut start, mut quote, mut is_escaped) = (0, None, false);
    for (position, letter) in line.char_indices() {
        let next = position + letter.len_utf8();
        match (quote, letter) {
            _ if is_escaped => {
                is_escaped = false;
                word.push(letter);
            }
            (None | Some('"'), '\\') => is_escaped = true,
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), letter) => word.push(letter),
            (None, '\'' | '"') => quote = Some(letter),
            (None, ';') => {
                words.clear();
                word.clear();
                start = next;
            }
            (None, letter) if letter.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                start = next;
            }
            (None, letter) => word.push(letter),
        }
    }
    (words, start)
}

/// What the next argument of a command can be; the flag says whether that completes the word.
fn arguments_of(
    definition: &clap::Command,
    arguments: &[String],
    partial: &str,
    vocabulary: &Vocabulary,
) -> Vec<(String, bool)> {
    if let Some(nested) = arguments.first().and_then(|name| definition.find_subcommand(name)) {
        return arguments_of(nested, &arguments[1..], partial, vocabulary);
    }
    let takes_value = |argument: &&clap::Arg| argument.get_action().takes_values();
    let long_of = |text: &str| {
        let name = text.strip_prefix("--")?;
        definition.get_opts().filter(takes_value).find(|argument| argument.get_long() == Some(name))
    };
    if let Some(option) = arguments.last().and_then(|last| long_of(last)) {
        return values_of(option, partial, vocabulary);
    }
    if partial.starts_with('-') {
        let longs = definition.get_arguments().filter_map(|argument| argument.get_long());
        return longs.map(|long| (format!("--{long}"), true)).collect();
    }
    let nested = definition.get_subcommands().map(|command| (command.get_name().to_owned(), true));
    let given = arguments.iter().filter(|argument| !argument.starts_with('-')).count();
    let positionals: Vec<&clap::Arg> = definition.get_positionals().collect();
    let repeats = |argument: &&&clap::Arg| {
        argument.get_num_args().is_some_and(|range| range.max_values() > 1)
            || matches!(argument.get_action(), clap::ArgAction::Append)
    };
    let next = positionals.get(given).or_else(|| positionals.last().filter(repeats));
    let values = next.map(|argument| values_of(argument, partial, vocabulary)).unwrap_or_default();
    nested.chain(values).collect()
}

fn values_of(argument: &clap::Arg, partial: &str, vocabulary: &Vocabulary) -> Vec<(String, bool)> {
    let choices = argument.get_possible_values();
    if !choices.is_empty() {
        return choices.iter().map(|choice| (choice.get_name().to_owned(), true)).collect();
    }
    let kind = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(|name| name.as_str())
        .unwrap_or_default();
    let whole = |names: &[String]| names.iter().map(|name| (name.clone(), true)).collect();
    match kind {
        "MODEL" => whole(&vocabulary.models),
        "LAYER" => whole(&vocabulary.layers),
        "BACKEND" => whole(&vocabulary.backends),
        "COMMAND" => commands::TABLE.iter().map(|entry| (entry.name.to_owned(), true)).collect(),
        // Where samples are expected, their names.
        "DATA" => {
            let mut values = paths(&vocabulary.base, partial);
            values.extend(vocabulary.datasets.iter().map(|name| (name.clone(), true)));
            values
        }
        "PATH" | "LIBRARY" | "FILE" => paths(&vocabulary.base, partial),
        _ => Vec::new(),
    }
}

/// Files and folders that begin with what was typed; a folder does not complete the word, as its content may follow.
fn paths(base: &Path, partial: &str) -> Vec<(String, bool)> {
    let split = partial.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, start) = partial.split_at(split);
    let place = match folder.strip_prefix("~/").zip(directories::BaseDirs::new()) {
        Some((rest, folders)) => folders.home_dir().join(rest),
        None => base.join(folder),
    };
    let place = if place.as_os_str().is_empty() { PathBuf::from(".") } else { place };
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_wanted = name.starts_with(start) && (start.starts_with('.') || !name.starts_with('.'));
            let is_folder = std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir());
            is_wanted.then(|| (format!("{folder}{name}{}", if is_folder { "/" } else { "" }), !is_folder))
        })
        .collect()
}

/// The word as written in a line, followed by a space when it is complete.
fn quoted(text: &str, quote: Option<char>, is_whole: bool) -> String {
    let end = if is_whole { " " } else { "" };
    match quote {
        Some(quote) if is_whole => format!("{quote}{text}{quote}{end}"),
        Some(quote) => format!("{quote}{text}"),
        None => {
            let mut written = String::new();
            for (index, letter) in text.chars().enumerate() {
                let is_special = letter.is_whitespace()
                    || matches!(letter, '\'' | '"' | '\\' | ';')
                    || (letter == '$' && index > 0)
                    || (letter == '#' && index == 0);
                if is_special {
                    written.push('\\');
                }
                written.push(letter);
            }
            written + end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(base: &Path) -> Vocabulary {
        Vocabulary {
            models: vec!["my net.onnx".into(), "resnet8.onnx".into(), "resnet8_int8.onnx".into()],
            backends: vec!["onnx".into(), "pytorch".into()],
            datasets: vec!["digits".into()],
            base: base.to_owned(),
            ..Vocabulary::default()
        }
    }

    fn inserted(line: &str) -> Vec<String> {
        complete(line, &vocabulary(Path::new("/nonexistent")))
            .candidates
            .into_iter()
            .map(|candidate| candidate.inserted)
            .collect()
    }

    #[test]
    fn the_first_word_is_a_command_after_a_semicolon_too() {
        assert_eq!(inserted("summ"), ["summary "]);
        assert_eq!(inserted("open x; rel"), ["reload "]);
    }

    #[test]
    fn models_options_and_choices_follow_their_command() {
        assert_eq!(inserted("load resnet8_"), ["resnet8_int8.onnx "]);
        assert_eq!(inserted("load resnet8.onnx resnet8_"), ["resnet8_int8.onnx "]);
        assert_eq!(inserted("load --a"), ["--as "]);
        assert_eq!(inserted("format m"), ["markdown "]);
        assert_eq!(inserted("backends info o"), ["onnx "]);
        assert_eq!(inserted("cache cl"), ["clear "]);
        assert_eq!(inserted("help qui"), ["quit "]);
        assert_eq!(inserted("evaluate resnet8.onnx --data d"), ["digits "]);
        assert_eq!(inserted("input d"), ["digits "]);
        assert_eq!(inserted("nonsense x"), Vec::<String>::new());
    }

    #[test]
    fn what_needs_quoting_is_quoted_as_the_user_began() {
        assert_eq!(inserted("load my"), ["my\\ net.onnx "]);
        assert_eq!(inserted("load \"my n"), ["\"my net.onnx\" "]);
        assert_eq!(inserted("load my\\ n"), ["my\\ net.onnx "]);
    }

    #[test]
    fn a_name_that_a_terminal_would_act_on_is_not_offered() {
        let vocabulary = Vocabulary {
            layers: vec!["layer1".into(), "layer\u{1b}]0;x\u{7}".into(), "layer\u{202e}".into()],
            ..Vocabulary::default()
        };
        let found = complete("layer lay", &vocabulary).candidates;
        assert_eq!(found.iter().map(|found| found.shown.as_str()).collect::<Vec<_>>(), ["layer1"]);
    }

    #[test]
    fn a_folder_can_be_entered() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("models")).unwrap();
        std::fs::write(base.path().join("models/a b.onnx"), "").unwrap();
        let complete_all = |line: &str| -> Vec<String> {
            complete(line, &vocabulary(base.path()))
                .candidates
                .into_iter()
                .map(|candidate| candidate.inserted)
                .collect()
        };
        assert_eq!(complete_all("open mo"), ["models/"]);
        assert_eq!(complete_all("open models/"), ["models/a\\ b.onnx "]);
    }
}
