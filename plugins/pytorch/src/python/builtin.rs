//! Functions that every Python has.

/// Functions that Python has without an import.
const BUILTINS: [&str; 24] = [
    "abs",
    "all",
    "any",
    "bool",
    "dict",
    "enumerate",
    "float",
    "getattr",
    "int",
    "isinstance",
    "len",
    "list",
    "max",
    "min",
    "pow",
    "range",
    "reversed",
    "round",
    "slice",
    "sorted",
    "str",
    "sum",
    "tuple",
    "zip",
];

/// Whether Python has a function with that name without an import, and it does nothing but compute on what it is given.
pub fn is_builtin(name: &str) -> bool {
    BUILTINS.contains(&name)
}
