//! Short texts of lines for people.

/// The most names that a list for people has.
const MOST_NAMES: usize = 5;

/// The first few names, and how many more there are; all of them are in the JSON.
pub fn first_of(names: &[&str]) -> String {
    let mut text = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MOST_NAMES {
        text = format!("{text} and {} more", names.len() - MOST_NAMES);
    }
    text
}

/// `1 model`, `2 models`.
pub fn counted(count: usize, noun: &str) -> String {
    let plural = match noun.strip_suffix('y') {
        Some(stem) if noun != "key" => format!("{stem}ies"),
        _ => format!("{noun}s"),
    };
    format!("{count} {}", if count == 1 { noun } else { &plural })
}
