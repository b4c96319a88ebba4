//! Which of the names that exist a typed one means: by a pattern, or because it is similar.

/// The candidate most similar to `name`, if any is similar.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let score = |candidate: &str| {
        let similarity = strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
        (similarity * 1e6) as u64
    };
    candidates
        .map(|candidate| (score(candidate), candidate))
        .filter(|(score, _)| *score > 800_000)
        .max_by_key(|(score, _)| *score)
        .map(|(_, candidate)| candidate)
}

/// Whether `text` matches a pattern in which `*` stands for any letters and `?` for one.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut position) = (0, 0);
    // Where to resume when the text after the last `*` does not match.
    let mut retry: Option<(usize, usize)> = None;
    while position < text.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at, position));
                at += 1;
            }
            Some(&letter) if letter == '?' || letter == text[position] => {
                at += 1;
                position += 1;
            }
            _ => match retry {
                Some((star, start)) => {
                    retry = Some((star, start + 1));
                    at = star + 1;
                    position = start + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&letter| letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text) in
            [("*", ""), ("a*c", "abbc"), ("a?c", "abc"), ("*.onnx", "x.onnx"), ("*a*b", "xaxab")]
        {
            assert!(matches_pattern(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a?c", "ac"), ("a*c", "ab"), ("", "a"), ("*.onnx", "x.onnx.data")] {
            assert!(!matches_pattern(pattern, text), "{pattern} {text}");
        }
    }
}
