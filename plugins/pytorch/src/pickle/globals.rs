//! Which classes and functions a pickle may name, and what each would mean to a Python that loads it.

use super::machine::COMPUTED;
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
    "_frozen_importlib",
    "_frozen_importlib_external",
    "_imp",
    "_interpreters",
    "_io",
    "_osx_support",
    "_pickle",
    "_posixsubprocess",
    "_pyrepl",
    "_socket",
    "_testcapi",
    "_thread",
    "_xxsubinterpreters",
    "aiohttp",
    "antigravity",
    "asyncio",
    "bdb",
    "bz2",
    "cProfile",
    "cffi",
    "cloudpickle",
    "code",
    "codeop",
    "commands",
    "compileall",
    "concurrent",
    "crypt",
    "ctypes",
    "dbm",
    "dill",
    "distutils",
    "doctest",
    "ensurepip",
    "fileinput",
    "ftplib",
    "gc",
    "glob",
    "gzip",
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
    "lzma",
    "marshal",
    "mmap",
    "msvcrt",
    "multiprocessing",
    "nt",
    "ntpath",
    "nturl2path",
    "numpy.ctypeslib",
    "numpy.distutils",
    "numpy.f2py",
    "numpy.testing",
    "os",
    "pandas.io",
    "paramiko",
    "pathlib",
    "pdb",
    "pickle",
    "pickletools",
    "pip",
    "pkgutil",
    "platform",
    "poplib",
    "posix",
    "posixpath",
    "profile",
    "pty",
    "py_compile",
    "pyclbr",
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
    "tarfile",
    "telnetlib",
    "tempfile",
    "test",
    "threading",
    "timeit",
    "tkinter",
    "torch._dynamo",
    "torch._inductor",
    "torch.hub",
    "torch.multiprocessing",
    "torch.package",
    "torch.utils._config_module",
    "torch.utils.bottleneck",
    "torch.utils.collect_env",
    "torch.utils.cpp_extension",
    "torch.utils.model_zoo",
    "torchvision.datasets",
    "torchvision.io",
    "trace",
    "traceback",
    "tracemalloc",
    "turtle",
    "urllib",
    "urllib3",
    "uuid",
    "venv",
    "weakref",
    "webbrowser",
    "winreg",
    "wsgiref",
    "xmlrpc",
    "zipapp",
    "zipfile",
    "zipimport",
];

/// Single names that are dangerous in modules that are not.
const DANGEROUS_NAMES: &[(&str, &str)] = &[
    ("_codecs", "lookup"),
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
    ("builtins", "max"),
    ("builtins", "memoryview"),
    ("builtins", "min"),
    ("builtins", "open"),
    ("builtins", "quit"),
    ("builtins", "reload"),
    ("builtins", "setattr"),
    ("builtins", "sorted"),
    ("builtins", "staticmethod"),
    ("builtins", "super"),
    ("builtins", "type"),
    ("builtins", "vars"),
    ("codecs", "open"),
    ("copyreg", "__newobj_ex__"),
    ("copyreg", "add_extension"),
    ("copyreg", "pickle"),
    ("functools", "partialmethod"),
    ("functools", "reduce"),
    ("itertools", "accumulate"),
    ("itertools", "dropwhile"),
    ("itertools", "filterfalse"),
    ("itertools", "groupby"),
    ("itertools", "starmap"),
    ("itertools", "takewhile"),
    ("numpy", "apply_along_axis"),
    ("numpy", "fromfile"),
    ("numpy", "frompyfunc"),
    ("numpy", "genfromtxt"),
    ("numpy", "load"),
    ("numpy", "loadtxt"),
    ("numpy", "memmap"),
    ("numpy", "save"),
    ("numpy", "savetxt"),
    ("numpy", "savez"),
    ("numpy", "vectorize"),
    ("numpy.lib._npyio_impl", "load"),
    ("numpy.lib.npyio", "load"),
    ("operator", "attrgetter"),
    ("operator", "call"),
    ("operator", "delitem"),
    ("operator", "itemgetter"),
    ("operator", "methodcaller"),
    ("operator", "setitem"),
    ("pandas", "eval"),
    ("pandas", "read_pickle"),
    ("string", "Formatter"),
    ("torch", "classes"),
    ("torch", "compile"),
    ("torch", "export"),
    ("torch", "from_file"),
    ("torch", "hub"),
    ("torch", "load"),
    ("torch", "ops"),
    ("torch", "save"),
    ("torch._ops", "load_library"),
    ("torch._utils", "_import_dotted_name"),
    ("torch.classes", "load_library"),
    ("torch.export", "load"),
    ("torch.fx", "GraphModule"),
    ("torch.fx._lazy_graph_module", "_LazyGraphModule"),
    ("torch.fx._symbolic_trace", "wrap"),
    ("torch.fx.graph_module", "GraphModule"),
    ("torch.fx.graph_module", "_exec_with_source"),
    ("torch.fx.graph_module", "_forward_from_src"),
    ("torch.fx.graph_module", "_method_from_src"),
    ("torch.jit", "CompilationUnit"),
    ("torch.jit", "load"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper"),
    ("torch.ops", "load_library"),
    ("torch.serialization", "load"),
    ("torch.serialization", "save"),
    ("torch.storage", "_load_from_bytes"),
    ("types", "CodeType"),
    ("types", "FunctionType"),
    ("types", "LambdaType"),
    ("types", "MethodType"),
    ("types", "ModuleType"),
    ("typing", "ForwardRef"),
    ("typing", "get_type_hints"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
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
    "torchvision.models",
    "torchvision.ops",
    "torchvision.transforms",
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
    let name = global.name.as_str();
    // From protocol 4 on, a name is a path of attributes, and modules are attributes of those that import
    // them: `torch.serialization` `os.system`, `torch` `hub.load`.
    let path = format!("{}.{name}", global.module);
    let is_module = |part: &str| DANGEROUS_MODULES.contains(&part.trim_start_matches('_'));
    let passes_a_module =
        name.contains('.') && name.split('.').any(|part| part.starts_with("__") || is_module(part));
    // Nested classes and methods are pickled as paths of classes. Other paths are PyTorch's, within `torch.nn`.
    let is_in_torch = global.module == "torch" && name.starts_with("nn.");
    let leaves_classes = name.rsplit_once('.').is_some_and(|(classes, _)| {
        !classes.split('.').all(|class| class.trim_start_matches('_').starts_with(|c: char| c.is_uppercase()))
    });
    passes_a_module
        || (leaves_classes && !is_in_torch)
        || [&global.module, &global.name].into_iter().any(|part| part == COMPUTED)
        || DANGEROUS_MODULES.iter().any(|module| *module == name || is_within(&path, module))
        || DANGEROUS_NAMES.iter().any(|&(module, dangerous)| {
            let rest = path.strip_prefix(module).and_then(|rest| rest.strip_prefix('.'));
            // Anything that imports a builtin's namespace re-exports its names; `torch.eval` is no such thing.
            rest.is_some_and(|rest| is_within(rest, dangerous))
                || (name == dangerous && dangerous.starts_with("__"))
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
            ("torch", "hub.load"),
            ("torch", "utils.cpp_extension.load"),
            ("builtins", "eval.__call__"),
            ("torchvision.datasets.mnist", "MNIST"),
            ("torch.fx.graph_module", "GraphModule"),
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
