//! Completion of commands, options, models, backends and paths.

use super::values::{paths, values_of};
use super::vocabulary::Vocabulary;
use crate::commands;
use crate::language::block;
use crate::language::token::is_name;
use crate::printable;

/// Something that a word can become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The word.
    pub text: String,
    /// Whether that completes it.
    pub is_whole: bool,
    /// What it is, in a few words.
    pub about: String,
}

impl Offer {
    /// A whole word.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_whole: true, about: String::new() }
    }

    /// The same with what it is.
    pub fn about(self, about: impl Into<String>) -> Self {
        Self { about: about.into(), ..self }
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
    /// What is said beside it.
    pub about: String,
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
        None if partial.starts_with('?') => {
            let names = commands::TABLE.iter();
            names.map(|entry| Offer::new(format!("?{}", entry.name)).about(entry.summary)).collect()
        }
        None => {
            let names = commands::TABLE.iter().map(|entry| Offer::new(entry.name).about(entry.summary));
            names.chain(block::KEYWORDS.map(|(name, usage)| Offer::new(name).about(usage))).collect()
        }
        _ if quote.is_none() && partial.starts_with('$') => vocabulary
            .variables
            .iter()
            .filter(|known| is_name(&known.name))
            .map(|known| Offer::new(format!("${}", known.name)).about(&known.about))
            .collect(),
        // The words of a program.
        Some((first, before)) if first.starts_with('!') || before.iter().any(|word| word == "|") => {
            paths(&vocabulary.base, &partial)
        }
        // A file for the result.
        Some((_, before)) if before.last().is_some_and(|word| matches!(word.as_str(), ">" | ">>" | ">|")) => {
            paths(&vocabulary.base, &partial)
        }
        // The words of a loop: mostly models.
        Some((command, [_, _, ..])) if command == "for" => {
            let mut values = paths(&vocabulary.base, &partial);
            values.extend(vocabulary.models.iter().map(|known| Offer::new(&known.name).about(&known.about)));
            values
        }
        Some((command, arguments)) => match commands::find(command) {
            Some(entry) => arguments_of(entry.name, &entry.definition(), arguments, &partial, vocabulary),
            None => Vec::new(),
        },
    };
    // Text that cannot be shown must not be inserted either: it would reach the terminal unchanged.
    let is_shown = |offer: &&Offer| printable::is_line(&offer.text);
    let mut found: Vec<&Offer> = found.iter().filter(is_shown).collect();
    let is_start = found.iter().any(|offer| offer.text.starts_with(&partial));
    let lower = partial.to_lowercase();
    found.retain(|offer| match is_start {
        true => offer.text.starts_with(&partial),
        false => offer.text.to_lowercase().contains(&lower),
    });
    let candidate = |offer: &Offer| Candidate {
        shown: offer.text.clone(),
        about: printable::line(&offer.about).into_owned(),
        inserted: quoted(&offer.text, quote, offer.is_whole),
    };
    let mut candidates: Vec<Candidate> = found.into_iter().map(candidate).collect();
    candidates.sort_by(|one, other| one.shown.cmp(&other.shown));
    candidates.dedup_by(|one, other| one.shown == other.shown);
    if !is_start && candidates.len() > 1 {
        // The line editor inserts what all candidates begin with. With this one that is at most what was typed.
        let about = format!("{} names with `{partial}`", candidates.len());
        candidates.insert(0, Candidate { shown: String::new(), about, inserted: typed.to_owned() });
    }
    Completions { start, candidates }
}

/// The words of the last statement before its last word, and where that word begins.
pub fn words_before(line: &str) -> (Vec<String>, usize) {
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

/// What the next argument of a command can be.
fn arguments_of(
    command: &str,
    definition: &clap::Command,
    arguments: &[String],
    partial: &str,
    vocabulary: &Vocabulary,
) -> Vec<Offer> {
    if let Some(nested) = arguments.first().and_then(|name| definition.find_subcommand(name)) {
        return arguments_of(command, nested, &arguments[1..], partial, vocabulary);
    }
    let place = Place::after(definition, arguments);
    if let Place::Value(argument) = place {
        return values_of(command, argument, partial, vocabulary);
    }
    if partial.starts_with('-') {
        let help = |argument: &clap::Arg| argument.get_help().map(|help| first_sentence(&help.to_string()));
        let options =
            definition.get_arguments().filter_map(|argument| Some((argument.get_long()?, argument)));
        return options
            .map(|(long, argument)| Offer::new(format!("--{long}")).about(help(argument).unwrap_or_default()))
            .collect();
    }
    let about = |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
    let nested =
        definition.get_subcommands().map(|command| Offer::new(command.get_name()).about(about(command)));
    let values = match place {
        Place::Positional(argument) => values_of(command, argument, partial, vocabulary),
        _ => Vec::new(),
    };
    nested.chain(values).collect()
}

/// What comes after the words of a command.
#[derive(Clone, Copy, Debug)]
pub enum Place<'d> {
    /// The value of an option.
    Value(&'d clap::Arg),
    /// An argument.
    Positional(&'d clap::Arg),
    /// Only options.
    End,
}

impl<'d> Place<'d> {
    /// The place after these words.
    pub fn after(definition: &'d clap::Command, arguments: &[String]) -> Self {
        let takes_value = |argument: &&clap::Arg| argument.get_action().takes_values();
        let long_of = |text: &str| {
            let name = text.strip_prefix("--")?;
            definition.get_opts().filter(takes_value).find(|argument| argument.get_long() == Some(name))
        };
        let (mut given, mut pending) = (0, None);
        for word in arguments {
            // The word after an option is its value.
            if pending.take().is_none() {
                pending = long_of(word);
                given += usize::from(pending.is_none() && !word.starts_with('-'));
            }
        }
        if let Some(option) = pending {
            return Self::Value(option);
        }
        let positionals: Vec<&clap::Arg> = definition.get_positionals().collect();
        let repeats = |argument: &&&clap::Arg| {
            argument.get_num_args().is_some_and(|range| range.max_values() > 1)
                || matches!(argument.get_action(), clap::ArgAction::Append)
        };
        match positionals.get(given).or_else(|| positionals.last().filter(repeats)) {
            Some(argument) => Self::Positional(argument),
            None => Self::End,
        }
    }
}

/// The words before the first full stop, colon or semicolon.
fn first_sentence(help: &str) -> String {
    help.split([';', ':']).next().unwrap_or_default().trim_end_matches('.').to_owned()
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
    use crate::repl::vocabulary::{Known, KnownLayer, RunSetting};
    use std::path::Path;

    fn known(name: &str) -> Known {
        Known { name: name.to_owned(), about: String::new() }
    }

    fn layer(name: &str, op_type: &str, is_plumbing: bool) -> KnownLayer {
        KnownLayer { name: name.into(), op_type: op_type.into(), is_plumbing, ..KnownLayer::default() }
    }

    fn vocabulary(base: &Path) -> Vocabulary {
        Vocabulary {
            models: ["my net.onnx", "resnet8.onnx", "resnet8_int8.onnx"].map(known).into(),
            backends: ["onnx", "pytorch"].map(known).into(),
            extensions: vec!["onnx".into()],
            datasets: vec!["digits".into()],
            options: vec![RunSetting {
                name: "optimization".into(),
                values: vec!["disable".into()],
                about: "How".into(),
            }],
            layers: vec![
                layer("layer1.conv1", "Conv", false),
                layer("layer2.conv2", "Conv", false),
                layer("layer3.conv2", "Conv", false),
                layer("layer2.conv2_output_QuantizeLinear", "QuantizeLinear", true),
            ],
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
    fn any_part_of_a_name_is_enough_and_plumbing_comes_only_if_asked_for() {
        assert_eq!(inserted("layer layer"), ["layer1.conv1 ", "layer2.conv2 ", "layer3.conv2 "]);
        assert_eq!(inserted("layer conv1"), ["layer1.conv1 "]);
        // The first keeps what was typed: the line editor inserts what all of them begin with.
        assert_eq!(inserted("layer CONV2"), ["CONV2", "layer2.conv2 ", "layer3.conv2 "]);
        assert_eq!(inserted("layer QuantizeL"), ["layer2.conv2_output_QuantizeLinear "]);
        assert_eq!(inserted("load int8"), ["resnet8_int8.onnx "]);
    }

    #[test]
    fn values_of_options_are_offered() {
        assert_eq!(inserted("layers --op "), ["Conv ", "QuantizeLinear "]);
        assert_eq!(inserted("run --qengine f"), ["fbgemm "]);
        assert_eq!(inserted("run --set opt"), ["optimization=disable "]);
        assert_eq!(inserted("layers --sort par"), ["parameters "]);
        assert_eq!(inserted("layers --op Conv res"), ["resnet8.onnx ", "resnet8_int8.onnx "]);
        assert_eq!(inserted("?lay"), ["?layer ", "?layers "]);
    }

    #[test]
    fn files_are_those_that_the_place_accepts_and_arrays_those_of_the_file() {
        let base = tempfile::tempdir().unwrap();
        for name in ["a.qp", "b.onnx", "c.npy"] {
            std::fs::write(base.path().join(name), "").unwrap();
        }
        std::fs::copy(
            concat!(env!("CARGO_MANIFEST_DIR"), "/../models/digits.npz"),
            base.path().join("d.npz"),
        )
        .unwrap();
        let complete_all = |line: &str| -> Vec<String> {
            complete(line, &vocabulary(base.path()))
                .candidates
                .into_iter()
                .map(|found| found.inserted)
                .collect()
        };
        assert_eq!(complete_all("source "), ["a.qp "]);
        assert_eq!(complete_all("open "), ["b.onnx "]);
        assert_eq!(complete_all("input "), ["c.npy ", "d.npz ", "digits "]);
        assert_eq!(complete_all("input d.npz:"), ["d.npz:images ", "d.npz:labels "]);
        assert_eq!(complete_all("echo a > b"), ["b.onnx "]);
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
            layers: ["layer1", "layer\u{1b}]0;x\u{7}", "layer\u{202e}"]
                .map(|name| layer(name, "", false))
                .into(),
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
