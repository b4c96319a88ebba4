//! Names of the list that are harmless in a form of their own, where kinds of arguments do not say it.

use super::evidence::{Evidence, Result};
use super::list::{self, Form, Sort};
use super::value::{Creation, Global, Object, Ref, Value};

/// The classes of packed weights that a `ScriptObject` may be of.
const PACKED: &[&str] = &[
    "__torch__.torch.classes.quantized.Conv2dPackedParamsBase",
    "__torch__.torch.classes.quantized.Conv3dPackedParamsBase",
    "__torch__.torch.classes.quantized.EmbeddingPackedParamsBase",
    "__torch__.torch.classes.quantized.LinearPackedParamsBase",
    "__torch__.torch.classes.rnn.CellParamsBase",
    "__torch__.torch.classes.sparse.LinearPackedParamsBase",
];

/// Bytes of one text of an array.
const MAX_TEXT_BYTES: i64 = 1 << 16;

/// Whether the class of a TorchScript file with that name is the file's own, or one of packed weights.
pub(super) fn is_script_class(module: &str, name: &str) -> bool {
    let path = format!("{module}.{name}");
    match path.strip_prefix("__torch__.torch.classes.") {
        Some(_) => PACKED.contains(&path.as_str()),
        None => path.starts_with("__torch__."),
    }
}

/// Whether a call of `global` has the form that does no harm; else what is wrong with it.
pub(super) fn check(evidence: &Evidence<'_>, global: &Global, object: &Object) -> Result {
    let pickle = evidence.pickle;
    let arguments = evidence.positional(object)?;
    let wants = |creation: Creation| match object.creation == creation {
        true => Ok(()),
        false => Err("built differently from what Python writes"),
    };
    match (global.module.as_str(), global.name.as_str()) {
        ("torch", "ScriptObject") => {
            wants(Creation::New)?;
            if arguments.is_empty() { Ok(()) } else { Err("built with arguments") }
        }
        ("numpy", "dtype") => {
            wants(Creation::Call)?;
            element_type(evidence, object).map(|_| ())
        }
        (module, name) => {
            wants(Creation::Call)?;
            match (module, name) {
                ("_codecs", "encode") => match arguments {
                    [text, encoding] if pickle.text(*text).is_some() && is_encoding(evidence, *encoding) => {
                        Ok(())
                    }
                    _ => Err("called with an encoding other than Latin-1 or UTF-8"),
                },
                ("builtins", "bytearray") => match arguments {
                    [] => Ok(()),
                    [bytes] if evidence.is_bytes(*bytes) => Ok(()),
                    [text, encoding] if pickle.text(*text).is_some() && is_encoding(evidence, *encoding) => {
                        Ok(())
                    }
                    _ => Err("called with something other than bytes"),
                },
                ("builtins", "getattr") => match arguments {
                    [class, name] if is_functions_class(evidence, *class) && is_function(evidence, *name) => {
                        Ok(())
                    }
                    _ => Err("called for something other than a listed function of torch"),
                },
                ("builtins", "type") => match arguments {
                    [value] if *pickle.get(*value) == Value::None => Ok(()),
                    _ => Err("called with something other than None"),
                },
                ("collections", "defaultdict") => match arguments {
                    [] => Ok(()),
                    [factory] if is_factory(evidence, *factory) => Ok(()),
                    _ => Err("called with a factory that is not a type of Python's own"),
                },
                ("copyreg", "_reconstructor") => match arguments {
                    [class, base, state]
                        if built(evidence, *class).is_some()
                            && pickle.global(*base).is_some_and(|base| base.is("builtins", "object"))
                            && *pickle.get(*state) == Value::None =>
                    {
                        Ok(())
                    }
                    _ => Err("called for a class that is not on the list, or with a state"),
                },
                ("numpy._core.multiarray" | "numpy.core.multiarray", "_reconstruct") => match arguments {
                    [class, shape, code]
                        if pickle.global(*class).is_some_and(|class| class.is("numpy", "ndarray"))
                            // The state has the shape; another one here would only take memory.
                            && pickle.ints(*shape).is_some_and(|shape| shape == [0])
                            && evidence.is_bytes(*code) =>
                    {
                        Ok(())
                    }
                    _ => Err("called for something other than a plain array"),
                },
                ("numpy._core.multiarray" | "numpy.core.multiarray", "scalar") => match arguments {
                    [kind, bytes] if evidence.is_bytes(*bytes) && is_number_type(evidence, *kind) => Ok(()),
                    _ => Err("called for something other than a plain number"),
                },
                ("torch._tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => match arguments {
                    [function, class, inner, state] => {
                        rebuilds(evidence, *function, *inner)?;
                        let is_class = pickle.global(*class).is_some_and(is_tensor_class);
                        if !is_class {
                            return Err("called for a class of tensors that is not on the list");
                        }
                        evidence.attributes(*state)
                    }
                    _ => Err("called with a wrong number of arguments"),
                },
                // Judged as a file: `verdict.rs` adds what is in it.
                ("torch.storage", "_load_from_bytes") => match arguments {
                    [bytes] if matches!(pickle.get(*bytes), Value::Bytes(_)) => Ok(()),
                    _ => Err("called with something other than bytes"),
                },
                _ => Err("called"),
            }
        }
    }
}

/// Whether `state` may be given to what `object` built; else what is wrong with it.
pub(super) fn check_state(evidence: &Evidence<'_>, global: &Global, object: &Object, state: Ref) -> Result {
    let pickle = evidence.pickle;
    match (global.module.as_str(), global.name.as_str()) {
        ("collections", "defaultdict") => evidence.attributes(state),
        ("copyreg", "_reconstructor") => {
            let class = pickle.arguments(object).first().and_then(|class| built(evidence, *class));
            class.map_or(Err("given a state"), |form| evidence.built_state(form, state))
        }
        ("torch", "ScriptObject") => match pickle.sequence(state) {
            Some([inner, class])
                if evidence.is_plain(*inner)
                    && pickle.text(*class).is_some_and(|class| PACKED.contains(&class)) =>
            {
                Ok(())
            }
            _ => Err("of a class that is not one of packed weights"),
        },
        ("numpy", "dtype") => element_state(evidence, object, state),
        (_, "_reconstruct") => match pickle.sequence(state) {
            Some([version, shape, kind, is_fortran, content])
                if pickle.int(*version).is_some()
                    && pickle.ints(*shape).is_some()
                    && evidence.sort(*kind) == Some(Sort::ElementType)
                    && pickle.int(*is_fortran).is_some()
                    && (evidence.is_bytes(*content) || matches!(pickle.get(*content), Value::List(_))) =>
            {
                Ok(())
            }
            _ => Err("given a state that is not that of a plain array"),
        },
        _ => Err("given a state"),
    }
}

/// The form of a class that may be built without arguments.
fn built(evidence: &Evidence<'_>, class: Ref) -> Option<&'static Form> {
    let class = evidence.pickle.global(class)?;
    let form = list::form(class)?;
    let is_object = class.is("builtins", "object");
    let is_built = matches!(form, Form::Class | Form::Module | Form::Optimizer | Form::Plain);
    (is_built || is_object).then_some(form)
}

fn is_encoding(evidence: &Evidence<'_>, at: Ref) -> bool {
    evidence.pickle.text(at).is_some_and(|name| {
        matches!(name.to_ascii_lowercase().as_str(), "latin1" | "latin-1" | "utf8" | "utf-8" | "ascii")
    })
}

fn is_functions_class(evidence: &Evidence<'_>, at: Ref) -> bool {
    evidence.pickle.global(at).is_some_and(|class| class.is("torch._C", "_VariableFunctionsClass"))
}

fn is_function(evidence: &Evidence<'_>, name: Ref) -> bool {
    let form = |name| {
        list::form_of("torch._C._VariableFunctionsClass", name).is_some_and(|form| *form == Form::Function)
    };
    evidence.pickle.text(name).is_some_and(form)
}

fn is_factory(evidence: &Evidence<'_>, at: Ref) -> bool {
    const FACTORIES: &[&str] = &["dict", "list", "set", "int", "float", "str", "bool", "tuple"];
    match evidence.pickle.get(at) {
        Value::None => true,
        Value::Global(global) => {
            (global.module == "builtins" && FACTORIES.contains(&global.name.as_str()))
                || global.is("collections", "OrderedDict")
        }
        _ => false,
    }
}

/// `Tensor`, `Parameter`, or a listed subclass.
fn is_tensor_class(global: &Global) -> bool {
    global.is("torch", "Tensor")
        || global.is("torch._tensor", "Tensor")
        || (global.module == "torch.nn.parameter" && list::form(global).is_some())
        || list::form(global).is_some_and(|form| *form == Form::Subclass)
}

/// Whether `function(*arguments)` is a listed call that makes a tensor.
fn rebuilds(evidence: &Evidence<'_>, function: Ref, arguments: Ref) -> Result {
    let form = evidence.pickle.global(function).and_then(list::form);
    let (Some(Form::Call(signature)), Value::Tuple(arguments)) = (form, evidence.pickle.get(arguments))
    else {
        return Err("called with a function that is not on the list, or with computed arguments");
    };
    if signature.result != Sort::Tensor {
        return Err("called with a function that makes no tensor");
    }
    evidence.fits(signature, arguments)
}

/// A type of NumPy's by its code: `f4`, `<i8`, `U10`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ElementKind {
    Number,
    Text { bytes: i64 },
    Object,
}

/// What the arguments of `numpy.dtype` name.
fn element_type(evidence: &Evidence<'_>, object: &Object) -> Result<ElementKind> {
    let wrong = "called with something other than the code of a plain type";
    let [code, rest @ ..] = evidence.positional(object)? else { return Err(wrong) };
    if rest.len() > 2 || !rest.iter().all(|&flag| evidence.pickle.int(flag).is_some()) {
        return Err(wrong);
    }
    let code = evidence.pickle.text(*code).ok_or(wrong)?;
    let plain = code.strip_prefix(['<', '>', '|', '=']).unwrap_or(code);
    const NUMBERS: &[&str] = &[
        "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "f16", "c8", "c16", "c32",
        "?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "g", "F", "D", "G",
    ];
    if NUMBERS.contains(&plain) {
        return Ok(ElementKind::Number);
    }
    if matches!(plain, "O8" | "O") {
        return Ok(ElementKind::Object);
    }
    let text = plain.split_at_checked(1).and_then(|(kind, length)| {
        let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: i64 = if is_number { length.parse().ok()? } else { return None };
        match kind {
            "S" if length <= MAX_TEXT_BYTES => Some(length),
            "U" if length <= MAX_TEXT_BYTES => length.checked_mul(4),
            _ => None,
        }
    });
    text.map(|bytes| ElementKind::Text { bytes }).ok_or(wrong)
}

fn is_number_type(evidence: &Evidence<'_>, at: Ref) -> bool {
    let object = evidence.pickle.object(at).filter(|object| {
        evidence.pickle.callable(object).is_some_and(|callable| callable.is("numpy", "dtype"))
    });
    object.is_some_and(|object| element_type(evidence, object).is_ok_and(|kind| kind != ElementKind::Object))
}

/// `(3, order, subtype, names, fields, size, alignment, flags)`. NumPy believes flags and sizes: with those of
/// another type it takes bytes for pointers.
fn element_state(evidence: &Evidence<'_>, object: &Object, state: Ref) -> Result {
    let pickle = evidence.pickle;
    let wrong = "given a state that is not that of a plain type";
    let Some([version, order, subtype, names, fields, size, alignment, flags]) = pickle.sequence(state)
    else {
        return Err(wrong);
    };
    let is_none = |at: &Ref| *pickle.get(*at) == Value::None;
    let is_order = pickle.text(*order).is_some_and(|order| matches!(order, "<" | ">" | "|" | "="));
    if pickle.int(*version).is_none() || !is_order || ![subtype, names, fields].into_iter().all(is_none) {
        return Err(wrong);
    }
    let numbers = (pickle.int(*size), pickle.int(*alignment), pickle.int(*flags));
    let is_right = match element_type(evidence, object)? {
        ElementKind::Number => numbers == (Some(-1), Some(-1), Some(0)),
        ElementKind::Object => numbers == (Some(-1), Some(-1), Some(63)),
        ElementKind::Text { bytes } => {
            numbers.0 == Some(bytes) && matches!(numbers.1, Some(1 | 4)) && matches!(numbers.2, Some(0 | 8))
        }
    };
    if is_right { Ok(()) } else { Err(wrong) }
}
