//! What the modules and functions of PyTorch compute, in the same Python in which graphs are saved.
//!
//! The files in `library/` are data: each definition in them is parsed when it is first asked for, followed by the same
//! interpreter as the code in a model file, and never run by a Python. They state, from the documentation of each class,
//! how its attributes become the arguments of an operator.

use crate::python::{Class, Expression, Function, Statement, parse};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

const SOURCES: [(&str, &str); 20] = [
    ("tensor.py", include_str!("library/tensor.py")),
    ("functional/activation.py", include_str!("library/functional/activation.py")),
    ("functional/attention.py", include_str!("library/functional/attention.py")),
    ("functional/normalization.py", include_str!("library/functional/normalization.py")),
    ("functional/pooling.py", include_str!("library/functional/pooling.py")),
    ("functional/resize.py", include_str!("library/functional/resize.py")),
    ("nn/activation.py", include_str!("library/nn/activation.py")),
    ("nn/container.py", include_str!("library/nn/container.py")),
    ("nn/convolution.py", include_str!("library/nn/convolution.py")),
    ("nn/normalization.py", include_str!("library/nn/normalization.py")),
    ("nn/pooling.py", include_str!("library/nn/pooling.py")),
    ("nn/recurrent.py", include_str!("library/nn/recurrent.py")),
    ("nn/shape.py", include_str!("library/nn/shape.py")),
    ("quantized/activation.py", include_str!("library/quantized/activation.py")),
    ("quantized/convolution.py", include_str!("library/quantized/convolution.py")),
    ("quantized/recurrent.py", include_str!("library/quantized/recurrent.py")),
    ("quantized/training.py", include_str!("library/quantized/training.py")),
    ("torchvision.py", include_str!("library/torchvision.py")),
    ("onnx2torch/arithmetic.py", include_str!("library/onnx2torch/arithmetic.py")),
    ("onnx2torch/shape.py", include_str!("library/onnx2torch/shape.py")),
];

/// Where classes are, and the name by which the library has them; the first that fits counts.
const PLACES: [(&str, &str); 25] = [
    ("torch.nn.modules", "torch.nn"),
    ("torch.nn.quantized.dynamic", "torch.ao.nn.quantized.dynamic"),
    ("torch.ao.nn.quantized.dynamic", "torch.ao.nn.quantized.dynamic"),
    ("torch.nn.quantized", "torch.ao.nn.quantized"),
    ("torch.ao.nn.quantized", "torch.ao.nn.quantized"),
    ("torch.nn.intrinsic.quantized.dynamic", "torch.ao.nn.intrinsic.quantized.dynamic"),
    ("torch.ao.nn.intrinsic.quantized.dynamic", "torch.ao.nn.intrinsic.quantized.dynamic"),
    ("torch.nn.intrinsic.quantized", "torch.ao.nn.intrinsic.quantized"),
    ("torch.ao.nn.intrinsic.quantized", "torch.ao.nn.intrinsic.quantized"),
    ("torch.nn.intrinsic.qat", "torch.ao.nn.intrinsic.qat"),
    ("torch.ao.nn.intrinsic.qat", "torch.ao.nn.intrinsic.qat"),
    ("torch.nn.intrinsic.modules", "torch.ao.nn.intrinsic"),
    ("torch.ao.nn.intrinsic.modules", "torch.ao.nn.intrinsic"),
    ("torch.nn.intrinsic", "torch.ao.nn.intrinsic"),
    ("torch.ao.nn.intrinsic", "torch.ao.nn.intrinsic"),
    ("torch.nn.qat.dynamic", "torch.ao.nn.qat"),
    ("torch.ao.nn.qat.dynamic", "torch.ao.nn.qat"),
    ("torch.nn.qat", "torch.ao.nn.qat"),
    ("torch.ao.nn.qat", "torch.ao.nn.qat"),
    ("torch.ao.quantization", "torch.ao.quantization"),
    ("torch.quantization", "torch.ao.quantization"),
    ("torch.nn", "torch.nn"),
    ("torchvision.ops", "torchvision.ops"),
    ("onnx2torch.node_converters", "onnx2torch"),
    ("onnx2torch", "onnx2torch"),
];

/// Functions and classes by their paths.
#[derive(Debug)]
pub struct Library {
    functions: HashMap<&'static str, Lazy<Function>>,
    classes: HashMap<&'static str, Lazy<Definition>>,
}

/// A class of the library.
#[derive(Debug, PartialEq)]
pub struct Definition {
    bases: Vec<String>,
    methods: HashMap<String, Arc<Function>>,
    attributes: HashMap<String, Expression>,
}

/// A definition that is parsed when it is first asked for.
#[derive(Debug)]
struct Lazy<T> {
    source: &'static str,
    parsed: OnceLock<Option<Arc<T>>>,
}

impl<T> Lazy<T> {
    fn new(source: &'static str) -> Self {
        Self { source, parsed: OnceLock::new() }
    }

    /// What `made` makes of the definition.
    fn get(&self, made: impl FnOnce(Statement) -> Option<T>) -> Option<&Arc<T>> {
        // The files are part of the program; `every_file_is_read_whole` tests that all of them are read.
        let parsed = || parse(self.source).ok()?.pop().and_then(made).map(Arc::new);
        self.parsed.get_or_init(parsed).as_ref()
    }
}

impl Library {
    /// The library.
    pub fn get() -> &'static Self {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        LIBRARY.get_or_init(|| {
            const ROOM: usize = 512;
            let (functions, classes) = (HashMap::with_capacity(ROOM), HashMap::with_capacity(ROOM));
            let mut library = Self { functions, classes };
            SOURCES.iter().for_each(|(_, source)| library.add(source));
            library
        })
    }

    /// Adds the definitions of a file: each begins at the start of a line, and ends where the next one begins.
    fn add(&mut self, source: &'static str) {
        let is_start = |rest: &str| rest.starts_with("def ") || rest.starts_with("class ");
        let mut rest = source;
        while !rest.is_empty() {
            let mut end = next_line(rest, 0);
            if !is_start(rest) {
                rest = rest.get(end..).unwrap_or_default();
                continue;
            }
            while end < rest.len() && !rest.get(end..).is_some_and(is_start) {
                end = next_line(rest, end);
            }
            let (definition, after) = rest.split_at(end);
            rest = after;
            let (word, name) = definition.split_once(' ').unwrap_or_default();
            let name = name.split(['(', ':']).next().unwrap_or_default();
            match word {
                "def" => drop(self.functions.insert(name, Lazy::new(definition))),
                _ => drop(self.classes.insert(name, Lazy::new(definition))),
            }
        }
    }

    /// The function at a path.
    pub fn function(&self, path: &str) -> Option<&Arc<Function>> {
        self.functions.get(path)?.get(|statement| match statement {
            Statement::Function(function) => Some(function),
            _ => None,
        })
    }

    fn class(&self, path: &str) -> Option<&Definition> {
        let class = self.classes.get(path)?.get(|statement| match statement {
            Statement::Class(class) => Some(definition(class)),
            _ => None,
        });
        class.map(Arc::as_ref)
    }

    /// The path by which the library has the class `name` of the Python module `module`; `None` if it has not.
    pub fn class_path(&self, module: &str, name: &str) -> Option<String> {
        let full = format!("{module}.{name}");
        let last = name.rsplit('.').next().unwrap_or(name);
        PLACES.iter().find_map(|(place, known)| {
            full.strip_prefix(place).filter(|rest| rest.starts_with('.'))?;
            let path = format!("{known}.{last}");
            self.classes.contains_key(path.as_str()).then_some(path)
        })
    }

    /// A method of a class, its own or of one that it takes over from.
    pub fn method(&self, class: &str, name: &str) -> Option<&Arc<Function>> {
        self.lineage(class).into_iter().find_map(|class| class.methods.get(name))
    }

    /// What an attribute is where a module has none of its own.
    pub fn attribute(&self, class: &str, name: &str) -> Option<&Expression> {
        self.lineage(class).into_iter().find_map(|class| class.attributes.get(name))
    }

    /// Whether a class is not a layer itself: its children are.
    pub fn is_container(&self, class: &str) -> bool {
        self.attribute(class, "is_container") == Some(&Expression::Bool(true))
    }

    fn lineage(&self, class: &str) -> Vec<&Definition> {
        const MAX_CLASSES: usize = 16;
        let mut lineage = Vec::new();
        let mut waiting = vec![class];
        while let Some(class) = waiting.pop() {
            if let Some(definition) = self.class(class) {
                waiting.extend(definition.bases.iter().rev().map(String::as_str));
                lineage.push(definition);
            }
            if lineage.len() > MAX_CLASSES {
                break;
            }
        }
        lineage
    }
}

/// Where the line after the one at `at` begins.
fn next_line(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |end| at + end + 1)
}

fn definition(class: Class) -> Definition {
    let (mut methods, mut attributes) = (HashMap::new(), HashMap::new());
    for statement in class.body {
        match statement {
            Statement::Function(function) => {
                methods.insert(function.name.clone(), Arc::new(function));
            }
            Statement::Assign(targets, value) => {
                if let [Expression::Name(name)] = targets.as_slice() {
                    attributes.insert(name.clone(), value);
                }
            }
            _ => {}
        }
    }
    Definition { bases: class.bases, methods, attributes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read_whole() {
        for (name, source) in SOURCES {
            let statements = parse(source).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let known = |statement: &Statement| match statement {
                Statement::Function(_) | Statement::Class(_) => true,
                // The text at the head of a file.
                Statement::Evaluate(Expression::Text(_)) => true,
                _ => false,
            };
            assert!(statements.iter().all(known), "{name}");
        }
    }

    #[test]
    fn the_definitions_are_those_of_the_whole_files() {
        let library = Library::get();
        let (mut functions, mut classes) = (0, 0);
        for statement in SOURCES.iter().flat_map(|(_, source)| parse(source).unwrap()) {
            match statement {
                Statement::Function(function) => {
                    functions += 1;
                    let found =
                        library.function(&function.name).unwrap_or_else(|| panic!("{}", function.name));
                    assert_eq!(**found, function);
                }
                Statement::Class(class) => {
                    classes += 1;
                    let name = class.name.clone();
                    let found = library.class(&name).unwrap_or_else(|| panic!("{name}"));
                    assert_eq!(*found, definition(class), "{name}");
                }
                _ => {}
            }
        }
        assert_eq!((library.functions.len(), library.classes.len()), (functions, classes));
    }

    #[test]
    fn classes_are_found_under_old_and_new_names() {
        let library = Library::get();
        for (module, name, path) in [
            ("torch.nn.modules.conv", "Conv2d", "torch.nn.Conv2d"),
            ("torch.nn.quantized.modules.conv", "Conv2d", "torch.ao.nn.quantized.Conv2d"),
            (
                "torch.ao.nn.quantized.dynamic.modules.linear",
                "Linear",
                "torch.ao.nn.quantized.dynamic.Linear",
            ),
            (
                "torch.ao.nn.intrinsic.quantized.modules.conv_relu",
                "ConvReLU2d",
                "torch.ao.nn.intrinsic.quantized.ConvReLU2d",
            ),
            ("onnx2torch.node_converters.pad", "OnnxPadStatic", "onnx2torch.OnnxPadStatic"),
        ] {
            assert_eq!(library.class_path(module, name).as_deref(), Some(path));
        }
        assert_eq!(library.class_path("resnet8_model", "Conv2d"), None);
        assert_eq!(library.class_path("torch.nnx", "Conv2d"), None);
    }

    #[test]
    fn a_class_takes_over_what_it_does_not_define() {
        let library = Library::get();
        assert!(library.is_container("torch.ao.nn.intrinsic.ConvReLU2d"));
        assert!(library.method("torch.ao.nn.intrinsic.ConvReLU2d", "forward").is_some());
        assert!(!library.is_container("torch.nn.Conv2d"));
    }
}
