//! Which classes and functions a pickle may name, and what each would mean to a Python that loads it.

use super::value::Global;

/// What loading a pickle that names a global amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// PyTorch's own data: its loader builds it without running anything the file brings along.
    Known,
    /// A class or function that is neither known nor on the list of dangerous ones.
    Unknown,
    /// With it, a pickle runs commands, code, or reaches the file system or the network.
    Dangerous,
}

/// Modules of which every name is dangerous, their submodules included.
const DANGEROUS_MODULES: &[&str] = &[
    "_aix_support",
    "_ctypes",
    "_io",
    "_pickle",
    "_posixsubprocess",
    "_pyrepl",
    "_socket",
    "_thread",
    "aiohttp",
    "asyncio",
    "bdb",
    "builtins.__import__",
    "cProfile",
    "cloudpickle",
    "code",
    "codeop",
    "commands",
    "concurrent",
    "ctypes",
    "dill",
    "distutils",
    "doctest",
    "ensurepip",
    "fileinput",
    "ftplib",
    "gc",
    "glob",
    "http",
    "httpx",
    "idlelib",
    "imaplib",
    "imp",
    "importlib",
    "inspect",
    "io",
    "joblib",
    "linecache",
    "logging",
    "marshal",
    "mmap",
    "multiprocessing",
    "nt",
    "ntpath",
    "os",
    "paramiko",
    "pathlib",
    "pdb",
    "pickle",
    "pip",
    "pkgutil",
    "platform",
    "poplib",
    "posix",
    "posixpath",
    "profile",
    "pty",
    "pydoc",
    "requests",
    "resource",
    "runpy",
    "selectors",
    "setuptools",
    "shelve",
    "shutil",
    "signal",
    "site",
    "smtplib",
    "socket",
    "socketserver",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "sysconfig",
    "telnetlib",
    "tempfile",
    "test",
    "threading",
    "timeit",
    "torch.hub",
    "torch.utils.cpp_extension",
    "trace",
    "traceback",
    "tracemalloc",
    "turtle",
    "urllib",
    "urllib3",
    "uuid",
    "venv",
    "webbrowser",
    "weakref",
    "winreg",
    "xmlrpc",
    "zipimport",
    "zipapp",
];

/// Single names that are dangerous in modules that are not.
const DANGEROUS_NAMES: &[(&str, &str)] = &[
    ("builtins", "__import__"),
    ("builtins", "apply"),
    ("builtins", "breakpoint"),
    ("builtins", "classmethod"),
    ("builtins", "compile"),
    ("builtins", "delattr"),
    ("builtins", "dir"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "execfile"),
    ("builtins", "exit"),
    ("builtins", "file"),
    ("builtins", "filter"),
    ("builtins", "getattr"),
    ("builtins", "globals"),
    ("builtins", "hasattr"),
    ("builtins", "help"),
    ("builtins", "input"),
    ("builtins", "locals"),
    ("builtins", "map"),
    ("builtins", "memoryview"),
    ("builtins", "open"),
    ("builtins", "quit"),
    ("builtins", "reload"),
    ("builtins", "setattr"),
    ("builtins", "super"),
    ("builtins", "type"),
    ("builtins", "vars"),
    ("copyreg", "__newobj_ex__"),
    ("copyreg", "add_extension"),
    ("copyreg", "pickle"),
    ("functools", "partial"),
    ("functools", "partialmethod"),
    ("functools", "reduce"),
    ("itertools", "accumulate"),
    ("itertools", "starmap"),
    ("numpy", "fromfile"),
    ("numpy", "load"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.f2py", "compile"),
    ("operator", "attrgetter"),
    ("operator", "call"),
    ("operator", "itemgetter"),
    ("operator", "methodcaller"),
    ("torch", "compile"),
    ("torch", "from_file"),
    ("torch", "load"),
    ("torch", "save"),
    ("torch._inductor.codecache", "compile_file"),
    ("torch.fx._symbolic_trace", "wrap"),
    ("torch.fx.graph_module", "_exec_with_source"),
    ("torch.fx.graph_module", "_forward_from_src"),
    ("torch.fx.graph_module", "_method_from_src"),
    ("torch.jit", "load"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper"),
    ("torch.serialization", "load"),
    ("torch.serialization", "save"),
    ("torch.storage", "_load_from_bytes"),
    ("torch.utils._config_module", "load_config"),
    ("torch.utils.bottleneck.__main__", "run_cprofile"),
    ("torch.utils.collect_env", "run"),
    ("types", "CodeType"),
    ("types", "FunctionType"),
    ("types", "LambdaType"),
    ("types", "MethodType"),
    ("types", "ModuleType"),
];

/// What PyTorch's formats are made of, by exact name.
const KNOWN_NAMES: &[(&str, &[&str])] = &[
    ("collections", &["OrderedDict", "defaultdict", "Counter", "deque"]),
    (
        "builtins",
        &[
            "set",
            "frozenset",
            "complex",
            "slice",
            "bytearray",
            "bytes",
            "list",
            "dict",
            "tuple",
            "int",
            "float",
            "bool",
            "str",
            "range",
            "object",
            "Ellipsis",
            "NotImplemented",
        ],
    ),
    ("copyreg", &["_reconstructor"]),
    ("_codecs", &["encode"]),
    ("argparse", &["Namespace"]),
    ("datetime", &["datetime", "date", "timedelta", "timezone"]),
    ("fractions", &["Fraction"]),
    ("decimal", &["Decimal"]),
    ("numpy", &["dtype", "ndarray", "bool_"]),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
    (
        "torch",
        &[
            "Size",
            "device",
            "Tensor",
            "dtype",
            "layout",
            "Generator",
            "ScriptObject",
            "nn.parameter.Parameter",
            "per_tensor_affine",
            "per_channel_affine",
            "per_tensor_symmetric",
            "per_channel_symmetric",
            "per_channel_affine_float_qparams",
            "strided",
            "sparse_coo",
            "sparse_csr",
            "contiguous_format",
            "channels_last",
            "preserve_format",
            "TypedStorage",
            "UntypedStorage",
        ],
    ),
    ("torch._C", &["_VariableFunctionsClass"]),
    ("torch._tensor", &["_rebuild_from_type_v2", "Tensor"]),
    (
        "torch._utils",
        &[
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_qtensor",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_sparse_tensor",
            "_rebuild_sparse_csr_tensor",
            "_rebuild_nested_tensor",
            "_rebuild_wrapper_subclass",
            "_rebuild_device_tensor_from_numpy",
            "_rebuild_device_tensor_from_cpu_tensor",
            "_set_obj_state",
        ],
    ),
    ("torch._tensor_docs", &[]),
    ("torch.ao.quantization.fx._lower_to_native_backend", &["_save_packed_weight", "_load_packed_weight"]),
    (
        "torch.fx.graph_module",
        &["reduce_graph_module", "reduce_package_graph_module", "reduce_deploy_graph_module"],
    ),
    (
        "torch.jit._pickle",
        &[
            "restore_type_tag",
            "build_tensor_from_id",
            "build_tensorlist",
            "build_intlist",
            "build_doublelist",
            "build_boollist",
        ],
    ),
    ("torch.nn.parameter", &["Parameter", "Buffer", "UninitializedParameter"]),
    ("torch.serialization", &["_get_layout"]),
    ("torch.storage", &["UntypedStorage", "TypedStorage"]),
];

/// Packages of modules, observers and quantized tensors: their classes are known, their functions are not.
const KNOWN_PACKAGES: &[&str] = &[
    "__torch__",
    "torch.nn",
    "torch.ao.nn",
    "torch.ao.quantization",
    "torch.fx",
    "torch.optim",
    "torch.quantization",
    "torch.distributed._tensor",
    "torchao",
    "torchvision",
];

/// What naming `global` amounts to.
pub fn standing(global: &Global) -> Standing {
    if is_dangerous(global) {
        Standing::Dangerous
    } else if is_known(global) {
        Standing::Known
    } else {
        Standing::Unknown
    }
}

fn is_dangerous(global: &Global) -> bool {
    let (module, name) = (global.module.as_str(), global.name.as_str());
    if DANGEROUS_MODULES.iter().any(|dangerous| is_within(module, dangerous)) {
        return true;
    }
    // From protocol 4 on, a name is a path of attributes, and modules are attributes of those that import
    // them: `torch.serialization` `os.system`.
    let mut path = name.split('.');
    let first = path.next().unwrap_or_default();
    let path_is_dangerous = name.contains('.')
        && name.split('.').any(|part| part.starts_with("__") || DANGEROUS_MODULES.contains(&part));
    path_is_dangerous
        || DANGEROUS_MODULES.contains(&name)
        || DANGEROUS_NAMES.iter().any(|&(in_module, dangerous)| {
            // Anything that imports a builtin's namespace re-exports its names; `torch.eval` is no such thing.
            (module == in_module && first == dangerous) || (name == dangerous && dangerous.starts_with("__"))
        })
}

fn is_known(global: &Global) -> bool {
    let (module, name) = (global.module.as_str(), global.name.as_str());
    let by_name = KNOWN_NAMES.iter().any(|(known, names)| *known == module && names.contains(&name));
    by_name
        || (module == "torch" && (is_storage(name) || crate::quant::dtype::from_torch_name(name).is_some()))
        || (KNOWN_PACKAGES.iter().any(|package| is_within(module, package)) && is_class_name(name))
        || (module == "torch"
            && name.starts_with("nn.modules.")
            && name.rsplit('.').next().is_some_and(is_class_name))
}

fn is_storage(name: &str) -> bool {
    crate::quant::dtype::from_storage_name(name).is_some()
}

fn is_within(module: &str, package: &str) -> bool {
    module.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether `name` is written as Python writes classes: `Conv2d`, `_WrappedHook`.
fn is_class_name(name: &str) -> bool {
    name.trim_start_matches('_').starts_with(|first: char| first.is_ascii_uppercase()) && !name.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing_of(module: &str, name: &str) -> Standing {
        standing(&Global::new(module, name))
    }

    #[test]
    fn names_that_run_things_are_dangerous() {
        for (module, name) in [
            ("posix", "system"),
            ("os", "popen"),
            ("__builtin__", "eval"),
            ("builtins", "getattr"),
            ("builtins", "exec.__call__"),
            ("subprocess", "Popen"),
            ("torch.storage", "_load_from_bytes"),
            ("torch.serialization", "os.system"),
            ("torch.nn.modules.module", "sys"),
            ("operator", "attrgetter"),
            ("importlib.util", "find_spec"),
            ("torch.hub", "load"),
        ] {
            assert_eq!(standing_of(module, name), Standing::Dangerous, "{module} {name}");
        }
    }

    #[test]
    fn pytorchs_own_data_is_known() {
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch", "FloatStorage"),
            ("torch", "qint8"),
            ("torch._utils", "_rebuild_qtensor"),
            ("torch.nn.modules.conv", "Conv2d"),
            ("torch.nn.modules.module", "_WrappedHook"),
            ("torchao.quantization", "Int8Tensor"),
            ("__torch__.resnet8_model.___torch_mangle_5", "Block"),
        ] {
            assert_eq!(standing_of(module, name), Standing::Known, "{module} {name}");
        }
    }

    #[test]
    fn other_peoples_classes_and_functions_are_unknown() {
        for (module, name) in [
            ("onnx2torch.node_converters.transpose", "OnnxTranspose"),
            ("resnet8_model", "ResNet8"),
            ("torch.nn.functional", "relu"),
            ("osmium", "system"),
        ] {
            assert_eq!(standing_of(module, name), Standing::Unknown, "{module} {name}");
        }
    }
}
