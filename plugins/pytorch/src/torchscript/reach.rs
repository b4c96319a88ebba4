//! Operators of TorchScript that do more than compute: they reach files or other processes.

use super::lexer::{Token, tokens};

/// Their names, whatever namespace they are called by; code could give that another name.
const REACHING: [&str; 5] = ["save", "from_file", "rpc_async", "rpc_sync", "rpc_remote"];

/// The operators of that kind that a line of code calls.
pub fn reaching(line: &str) -> Vec<&'static str> {
    // Most lines of most models have none of the names in them.
    if !REACHING.iter().any(|name| line.contains(name)) {
        return Vec::new();
    }
    let tokens = tokens(line);
    let calls = tokens.windows(3).filter_map(|window| match window {
        [Token::Symbol('.'), Token::Name(name), Token::Symbol('(')] => {
            REACHING.iter().find(|known| *known == name).copied()
        }
        _ => None,
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use super::reaching;

    #[test]
    fn calls_are_found_and_names_alone_are_not() {
        assert_eq!(reaching("  _0 = torch.save(x, \"f\")"), ["save"]);
        assert_eq!(reaching("  y = ops.aten.from_file (\"f\", True, 4)"), ["from_file"]);
        assert_eq!(reaching("  save = torch.relu(x)"), [""; 0]);
        assert_eq!(reaching("  x = self.save"), [""; 0]);
        assert_eq!(reaching("  x = \".save(\""), [""; 0]);
    }
}
