//! Names that run, write, load or connect. What is on no list is unknown, not harmless: this one says of which
//! names it is known that they are not.

use super::machine::COMPUTED;
use super::value::Global;

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
    "sympy",
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

/// Names that are dangerous in whatever module they are found: others import them.
const DANGEROUS_ANYWHERE: &[&str] = &[
    "CodeType",
    "CompilationUnit",
    "FunctionType",
    "LambdaType",
    "MethodType",
    "ModuleType",
    "PackageExporter",
    "PackageImporter",
    "Popen",
    "Unpickler",
    "check_call",
    "check_output",
    "getoutput",
    "getstatusoutput",
    "import_module",
    "load_inline",
    "load_library",
    "sympify",
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

/// Whether a path is that of a module of which every name is dangerous, or lies within one.
pub(super) fn is_module(path: &str) -> bool {
    DANGEROUS_MODULES.iter().any(|module| is_within(path, module))
}

/// Whether a Python that loads a pickle with this name in it may run, write, load or connect.
pub(super) fn is_dangerous(global: &Global) -> bool {
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
        || DANGEROUS_ANYWHERE.contains(&name)
        || DANGEROUS_MODULES.iter().any(|module| *module == name || is_within(&path, module))
        || DANGEROUS_NAMES.iter().any(|&(module, dangerous)| {
            let rest = path.strip_prefix(module).and_then(|rest| rest.strip_prefix('.'));
            // Anything that imports a builtin's namespace re-exports its names; `torch.eval` is no such thing.
            rest.is_some_and(|rest| is_within(rest, dangerous))
                || (name == dangerous && dangerous.starts_with("__"))
        })
}

fn is_within(module: &str, package: &str) -> bool {
    module.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_danger(module: &str, name: &str) -> bool {
        is_dangerous(&Global::new(module, name))
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
            ("torch.fx._symbolic_trace", "FunctionType"),
            ("torch.fx._lazy_graph_module", "PackageExporter"),
            ("torch.fx.experimental.symbolic_shapes", "sympy"),
        ] {
            assert!(is_danger(module, name), "{module} {name}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_qtensor"),
            ("torch.nn.modules.conv", "Conv2d"),
            ("onnx2torch.node_converters.transpose", "OnnxTranspose"),
            ("torch.nn.functional", "relu"),
            ("osmium", "system"),
        ] {
            assert!(!is_danger(module, name), "{module} {name}");
        }
    }
}
