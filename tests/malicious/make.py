"""Makes files that mean harm, each in one way, and says what is to be thought of them.

    python3 make.py FOLDER            writes the files and manifest.json
    python3 make.py FOLDER --check    loads each of them as Python would, and lists those that did their harm

The harm is an empty file in FOLDER/markers, named after the sample: whoever finds one there after reading the
samples has executed something. Standard library only. A row of the manifest:

    file      its name in FOLDER
    verdict   "dangerous", "unknown", "safe", or the kind of the error
    names     what the verdict has to name
    calls     the calls that have to be listed, all of them, in this order; empty where that is not looked at
    tensors   the tensors that have to be listed
    load      how --check loads it: "pickle", "loads", "zip", "legacy", "second"; null where it does no harm to Python
"""

import concurrent.futures
import importlib.util
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib

folder = pathlib.Path(sys.argv[1]).resolve()
markers = folder / "markers"
rows = []


# How pickles are written by hand. https://github.com/python/cpython/blob/main/Lib/pickletools.py


def text(value):
    """SHORT_BINUNICODE or BINUNICODE"""
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data if len(data) < 256 else b"X" + struct.pack("<I", len(data)) + data


def get(module, name):
    """GLOBAL"""
    return f"c{module}\n{name}\n".encode()


def stack_get(module, name):
    """STACK_GLOBAL"""
    return text(module) + text(name) + b"\x93"


def call(function, *arguments):
    """REDUCE"""
    return function + b"(" + b"".join(arguments) + b"tR"


def touch(name):
    return text(f"touch {markers / name}")


def code(name):
    """An expression that makes the marker."""
    return f"open({str(markers / name)!r}, 'w')"


def tensor(size=b"K\x02", stride=b"K\x01", offset=b"K\x00", storage="FloatStorage", key="0", elements=b"K\x02"):
    """What torch.save writes for a tensor."""
    id = b"(" + text("storage") + get("torch", storage) + text(key) + text("cpu") + elements + b"tQ"
    view = id + offset + size + b"\x85" + stride + b"\x85" + b"\x89" + call(get("collections", "OrderedDict"))
    return call(get("torch._utils", "_rebuild_tensor_v2"), view)


STORAGE = struct.pack("<2f", 1.5, -2.0)


def state_dict(harm):
    """A state dict whose last entry is the harm."""
    return b"\x80\x02}(" + text("fc.weight") + tensor() + text("note") + harm + b"u."


def saved(data, *more, compression=zipfile.ZIP_STORED, storage=STORAGE):
    """An archive of torch.save."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in (("data.pkl", data), ("byteorder", b"little"), ("data/0", storage), ("version", b"3\n"), *more):
            archive.writestr(zipfile.ZipInfo("m/" + name, (1980, 1, 1, 0, 0, 0)), content, compression)
    return file.getvalue()


def legacy(magic, protocol, system, data, keys):
    """A file of PyTorch before 1.6: five pickles, then a count of elements and the elements."""
    return magic + protocol + system + data + keys + struct.pack("<q", 2) + STORAGE


LEGACY = {
    "magic": b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
    "protocol": b"\x80\x02M\xe9\x03.",
    "system": b"\x80\x02}" + text("little_endian") + b"\x88s.",
    "data": b"\x80\x02}" + text("fc.weight") + tensor() + b"s.",
    "keys": b"\x80\x02]" + text("0") + b"a.",
}


def sample(file, content, verdict, names=(), calls=(), tensors=(), load=None):
    (folder / file).write_bytes(content)
    row = {"file": file, "verdict": verdict, "names": names, "calls": calls, "tensors": tensors, "load": load}
    rows.append({key: list(value) if isinstance(value, tuple) else value for key, value in row.items()})


def dangerous(stem, harm, *names, calls=(), is_alone=True):
    """A way to run something, as a pickle by itself and in the place of a state dict's entry."""
    if is_alone:
        sample(f"{stem}.pkl", b"\x80\x04" + harm(stem) + b".", "dangerous", names, calls, load="pickle")
    else:
        data = state_dict(harm(stem))
        sample(f"{stem}.pt", saved(data), "dangerous", names, calls, ("fc.weight",), load="zip")


def calls_of_commands():
    dangerous("os_system", lambda stem: call(get("os", "system"), touch(stem)), "os.system")
    dangerous("posix_system", lambda stem: call(get("posix", "system"), touch(stem)), "posix.system", is_alone=False)
    dangerous("os_popen", lambda stem: call(get("os", "popen"), touch(stem)), "os.popen")
    argv = lambda stem: b"](" + text("touch") + text(str(markers / stem)) + b"e"
    dangerous("subprocess_run", lambda stem: call(get("subprocess", "run"), argv(stem)), "subprocess.run")
    dangerous("subprocess_popen", lambda stem: call(get("subprocess", "Popen"), argv(stem)), "subprocess.Popen", is_alone=False)
    dangerous("commands_of_python_2", lambda stem: b"\x80\x02" + call(get("commands", "getoutput"), touch(stem)), "subprocess.getoutput")
    rows[-1]["load"] = "protocol 2"
    dangerous("pty_spawn", lambda stem: call(get("pty", "spawn"), argv(stem)), "pty.spawn")
    dangerous("os_execvp", lambda stem: call(get("os", "spawnvp"), b"K\x00", text("touch"), argv(stem)), "os.spawnvp")


def code_that_is_run():
    dangerous("eval", lambda stem: call(get("builtins", "eval"), text(code(stem))), "builtins.eval", is_alone=False)
    dangerous("exec", lambda stem: call(get("builtins", "exec"), text(code(stem))), "builtins.exec")
    compiled = lambda stem: call(get("builtins", "compile"), text(code(stem)), text(""), text("eval"))
    dangerous("compile_eval", lambda stem: call(get("builtins", "eval"), compiled(stem)), "builtins.compile", "builtins.eval")
    dangerous("open", lambda stem: call(get("builtins", "open"), text(str(markers / stem)), text("w")), "builtins.open")
    dangerous("io_open", lambda stem: call(get("_io", "open"), text(str(markers / stem)), text("w")), "_io.open")
    dangerous("pathlib", lambda stem: call(get("pathlib", "Path.touch"), call(get("pathlib", "Path"), text(str(markers / stem)))), "pathlib.Path.touch")
    script = lambda stem: text(str(folder / f"{stem}.py"))
    (folder / "runpy.py").write_text(code("runpy"))
    dangerous("runpy", lambda stem: call(get("runpy", "run_path"), script(stem)), "runpy.run_path")
    (folder / "side_effect_of_import.py").write_text(code("importlib"))
    dangerous("importlib", lambda stem: call(get("importlib", "import_module"), text("side_effect_of_import")), "importlib.import_module")
    (folder / "another_side_effect.py").write_text(code("own_module") + "\nclass Model: pass\n")
    sample("own_module.pkl", b"\x80\x02" + get("another_side_effect", "Model") + b")\x81.", "unknown", ("another_side_effect.Model",), load="pickle")
    dangerous("timeit", lambda stem: call(get("timeit", "timeit"), text(code(stem)), text("pass"), get("time", "time"), b"K\x01"), "timeit.timeit")
    dangerous("cprofile", lambda stem: call(get("cProfile", "run"), text(code(stem))), "cProfile.run")
    dangerous("pdb", lambda stem: call(get("bdb", "Bdb.run"), call(get("bdb", "Bdb")), text(code(stem))), "bdb.Bdb.run")
    dangerous("webbrowser", lambda stem: call(call(get("operator", "methodcaller"), text("open"), text(str(markers / stem))), call(get("webbrowser", "get"), text("touch %s"))), "webbrowser.get", "operator.methodcaller")
    dangerous("interactive_console", lambda stem: call(get("code", "InteractiveInterpreter.runsource"), call(get("code", "InteractiveInterpreter")), text(code(stem))), "code.InteractiveInterpreter.runsource")
    if importlib.util.find_spec("pip"):
        dangerous("pip", lambda stem: call(get("pip", "main"), b"](" + text("--log") + text(str(markers / stem)) + text("config") + text("list") + b"e"), "pip.main")
    body = lambda stem: compile(code(stem), "", "eval")

    def function(stem):
        made = body(stem)
        parts = [b"K\x00"] * 5 + [b"K\x40", b"C" + bytes([len(made.co_code)]) + made.co_code]
        return call(get("types", "CodeType"), *parts)

    sample("code_type.pkl", b"\x80\x04" + call(call(get("types", "FunctionType"), function("code_type"), b"}")) + b".", "dangerous", ("types.CodeType", "types.FunctionType"))


def builtins_by_detours():
    os_ = call(get("builtins", "__import__"), text("os"))
    by_name = lambda target, name: call(get("builtins", "getattr"), target, text(name))
    dangerous("getattr", lambda stem: call(by_name(os_, "system"), touch(stem)), "builtins.getattr", "builtins.__import__", is_alone=False)
    dangerous("getattr_chain", lambda stem: call(by_name(by_name(call(get("builtins", "__import__"), text("importlib")), "import_module"), "__call__"), text("os")) + b"0" + call(by_name(os_, "system"), touch(stem)), "builtins.getattr")
    dangerous("getattr_of_python_2", lambda stem: b"\x80\x02" + call(get("__builtin__", "eval"), text(code(stem))), "builtins.eval")
    rows[-1]["load"] = "protocol 2"
    getter = lambda stem: call(get("operator", "attrgetter"), text("system"))
    dangerous("attrgetter", lambda stem: call(call(getter(stem), os_), touch(stem)), "operator.attrgetter")
    dangerous("methodcaller", lambda stem: call(call(get("operator", "methodcaller"), text("system"), touch(stem)), os_), "operator.methodcaller")
    dangerous("partial", lambda stem: call(call(get("functools", "partial"), get("os", "system"), touch(stem))), "functools.partial", is_alone=False)
    state = lambda stem: get("os", "system") + b"(" + touch(stem) + b"t}N"
    dangerous("partial_by_state", lambda stem: call(call(get("functools", "partial"), get("builtins", "print")) + b"(" + state(stem) + b"tb"), "functools.partial", "os.system")
    dangerous("functools_reduce", lambda stem: call(get("functools", "reduce"), get("builtins", "getattr"), b"](" + call(get("builtins", "__import__"), text("os")) + text("system") + b"e"), "functools.reduce")
    rows[-1]["load"] = None
    dangerous("map", lambda stem: call(get("builtins", "list"), call(get("builtins", "map"), get("os", "system"), b"]" + touch(stem) + b"a")), "builtins.map")
    dangerous("itertools_starmap", lambda stem: call(get("builtins", "list"), call(get("itertools", "starmap"), get("os", "system"), b"]" + touch(stem) + b"\x85a")), "itertools.starmap")
    dangerous("defaultdict_factory", lambda stem: call(get("operator", "getitem"), call(get("collections", "defaultdict"), call(get("functools", "partial"), get("os", "system"), touch(stem))), text("a")), "functools.partial")
    dangerous("module_through_another", lambda stem: call(stack_get("json.decoder", "scanner.re.enum.sys.modules.get"), text("os")) + b"0" + call(get("os", "system"), touch(stem)), "os.system")
    dangerous("dotted_name", lambda stem: call(stack_get("random", "_os.system"), touch(stem)), "random._os.system")
    dangerous("dunder_path", lambda stem: call(call(stack_get("builtins", "object.__class__.__subclasses__"), get("builtins", "object")) + b"0" + get("os", "system"), touch(stem)), "builtins.object.__class__.__subclasses__")


def opcodes():
    dangerous("inst", lambda stem: b"(" + touch(stem) + b"ios\nsystem\n", "os.system")
    dangerous("obj", lambda stem: b"(" + get("os", "system") + touch(stem) + b"o", "os.system", is_alone=False)
    argv = lambda stem: b"](" + text("touch") + text(str(markers / stem)) + b"e"
    dangerous("newobj_ex", lambda stem: call(get("copyreg", "__newobj_ex__"), get("subprocess", "Popen"), b"(t", b"}") + b"0" + get("os", "system") + touch(stem) + b"\x85R", "copyreg.__newobj_ex__", "os.system")
    own = "class Made:\n    def __new__(cls, path, **more):\n        open(path, 'w')\n        return object.__new__(cls)\n"
    (folder / "made_by_new.py").write_text(own)
    sample("newobj.pkl", b"\x80\x02" + get("made_by_new", "Made") + text(str(markers / "newobj")) + b"\x85\x81.", "unknown", ("made_by_new.Made",), load="pickle")
    sample("newobj_with_keywords.pkl", b"\x80\x04" + get("made_by_new", "Made") + b")}" + text("path") + text(str(markers / "newobj_with_keywords")) + b"s\x92.", "unknown", ("made_by_new.Made",), load="pickle")
    dangerous("stack_global", lambda stem: call(stack_get("posix", "system"), touch(stem)), "posix.system", is_alone=False)
    dangerous("memoized_name", lambda stem: text("os") + b"q\x01" + text("system") + b"q\x020" + b"0" + b"h\x01h\x02\x93" + touch(stem) + b"\x85R", "os.system")
    dangerous("memo_of_any_index", lambda stem: text("os") + b"p99999\n0" + text("system") + b"r\xff\xff\x00\x000g99999\nj\xff\xff\x00\x00\x93" + touch(stem) + b"\x85R", "os.system")
    dangerous("memo_set_again", lambda stem: text("collections") + b"q\x000" + text("os") + b"q\x000h\x00" + text("system") + b"\x93" + touch(stem) + b"\x85R", "os.system")
    dangerous("name_in_escapes", lambda stem: b"S'\\157\\x73'\nS'\\163yste\\155'\n\x93" + touch(stem) + b"\x85R", "os.system")
    dangerous("name_in_unicode_escapes", lambda stem: b"V\\u006fs\nV\\u0073ystem\n\x93" + touch(stem) + b"\x85R", "os.system")
    sample("protocol_0.pkl", b"(S'touch " + str(markers / "protocol_0").encode() + b"'\nios\nsystem\n.", "dangerous", ("os.system",), load="pickle")
    joined = call(stack_get("builtins", "str.join"), text(""), b"](" + text("sys") + text("tem") + b"e")
    sample("concatenated_name.pkl", b"\x80\x04" + text("os") + joined + b"\x93" + touch("concatenated_name") + b"\x85R.", "dangerous", ("os.<computed>",), load="pickle")
    dangerous("popped", lambda stem: call(get("os", "system"), touch(stem)) + b"0N", "os.system")
    dangerous("popped_with_a_mark", lambda stem: b"(" + call(get("os", "system"), touch(stem)) + b"1N", "os.system")
    dangerous("in_the_memo_alone", lambda stem: call(get("os", "system"), touch(stem)) + b"\x940N", "os.system")
    dangerous("as_a_key", lambda stem: b"}" + call(get("os", "system"), touch(stem)) + b"Ns", "os.system", is_alone=False)
    dangerous("extension_code", lambda stem: call(get("copyreg", "add_extension"), text("os"), text("system"), b"K\x07") + b"0" + b"\x82\x07" + touch(stem) + b"\x85R", "copyreg.add_extension")
    dangerous("state_of_a_module", lambda stem: call(get("builtins", "__import__"), text("json")) + b"}" + text("loads") + get("os", "system") + b"sb0" + call(get("json", "loads"), touch(stem)), "os.system")
    dangerous("state_of_a_class", lambda stem: get("json", "JSONDecoder") + b"N}" + text("decode") + get("os", "system") + b"s\x86b0" + call(get("os", "system"), touch(stem)), "json.JSONDecoder", "os.system")
    dangerous("environment", lambda stem: stack_get("os", "environ") + text("A") + text("b") + b"s0" + call(get("os", "system"), touch(stem)), "os.environ")
    frame = b"\x95" + struct.pack("<Q", 10) + b"0Nctorch.n"
    hidden = b"\x80\x04K\x00" + frame + b"subprocess\nPopen\n" + b"](" + text("touch") + text(str(markers / "frame")) + b"e\x85R."
    sample("frame.pkl", hidden, "CorruptFile", load="pickle")
    first = b"\x80\x04N."
    sample("second_pickle.pkl", first + b"\x80\x04" + call(get("os", "system"), touch("second_pickle")) + b".", "dangerous", ("os.system",), load="second")
    sample("before_the_damage.pkl", b"\x80\x04" + call(get("os", "system"), touch("before_the_damage")) + b"\xff\xff", "dangerous", ("os.system",), load="pickle")
    sample("cut_short.pt", saved(b"\x80\x04" + call(get("os", "system"), touch("cut_short")) + b"X\xff\xff"), "dangerous", ("os.system",), load="zip")
    sample("no_root.pkl", b"\x80\x04" + call(get("os", "system"), touch("no_root")) + b"0.", "dangerous", ("os.system",), load="pickle")


def order():
    """What is listed is every call but the harmless ones, in the order in which Python would make them."""
    os_ = call(get("builtins", "__import__"), text("os"))
    system = call(get("builtins", "getattr"), os_, text("system"))
    made = get("subprocess", "Popen") + b"](" + text("true") + text("it's") + b"e\x85}" + text("shell") + b"\x88s\x92"
    harmless = call(get("collections", "OrderedDict"))
    changed = get("json", "decoder") + b"}" + text("scanstring") + get("builtins", "eval") + b"sb"
    long = call(get("builtins", "exec"), text("pass\n" * 100), harmless)
    data = b"\x80\x04(" + call(system, text("true")) + made + b"(K\x01K\x02ios\n_exit\n" + changed + long + b"t."
    calls = (
        "builtins.__import__('os')",
        "builtins.getattr(builtins.__import__('os'), 'system')",
        "builtins.getattr(builtins.__import__('os'), 'system')('true')",
        "subprocess.Popen.__new__(subprocess.Popen, ['true', \"it's\"], shell=True)",
        "os._exit(1, 2)",
        "vars(json.decoder).update({'scanstring': builtins.eval})",
        "builtins.exec('" + "pass\\n" * 12 + "pass…', collections.OrderedDict())",
    )
    sample("order.pkl", data, "dangerous", ("os._exit", "builtins.eval"), calls)


def nested():
    inner = lambda stem: b"\x80\x02" + call(get("os", "system"), touch(stem)) + b"."
    bytes_ = lambda data: b"B" + struct.pack("<I", len(data)) + data
    dangerous("pickle_loads", lambda stem: call(get("pickle", "loads"), bytes_(inner(stem))), "pickle.loads", "os.system")
    dangerous("load_from_bytes", lambda stem: call(get("torch.storage", "_load_from_bytes"), bytes_(LEGACY["magic"] + LEGACY["protocol"] + LEGACY["system"] + inner(stem))), "os.system", is_alone=False)
    innocent = LEGACY["magic"] + LEGACY["protocol"] + LEGACY["system"] + b"\x80\x02N." + LEGACY["keys"]
    sample("innocent_load_from_bytes.pkl", b"\x80\x04" + call(get("torch.storage", "_load_from_bytes"), bytes_(innocent)) + b".", "safe")
    dangerous("torch_load", lambda stem: call(get("torch", "load"), call(get("_io", "BytesIO"), bytes_(inner(stem)))), "torch.load")
    rows[-1]["load"] = None
    dangerous("torch_hub", lambda stem: call(get("torch.hub", "load"), text("someone/something"), text("model")), "torch.hub.load")
    rows[-1]["load"] = None
    numpy = get("numpy.core.multiarray", "_reconstruct")
    array = call(numpy, get("numpy", "ndarray"), b"K\x00\x85", b"C\x01b") + b"(K\x01K\x01\x85" + call(get("numpy", "dtype"), text("O8"), b"\x89", b"\x88") + b"\x89"
    dangerous("numpy_objects", lambda stem: array + b"]" + call(get("os", "system"), touch(stem)) + b"atb", "os.system")
    rows[-1]["load"] = None
    dangerous("numpy_load", lambda stem: call(get("numpy", "load"), text("model.npy")), "numpy.load")
    rows[-1]["load"] = None


def places():
    harm = lambda stem: call(get("os", "system"), touch(stem))
    for part in ("protocol", "system", "keys"):
        stem = f"legacy_{part}"
        parts = {**LEGACY, part: b"\x80\x02" + harm(stem) + b"0" + LEGACY[part][2:]}
        sample(f"{stem}.pt", legacy(**parts), "dangerous", ("os.system",), (), ("fc.weight",), load="legacy")
    parts = {**LEGACY, "magic": b"\x80\x02" + harm("legacy_magic") + b"0" + LEGACY["magic"][2:]}
    sample("legacy_magic.pt", legacy(**parts), "dangerous", ("os.system",), (), ("fc.weight",), load="legacy")
    module = b"\x80\x02" + get("__torch__", "Net") + b")\x81}" + text("training") + b"\x89sb."
    source = ("code/__torch__.py", b"class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    return x\n")
    constants = ("constants.pkl", b"\x80\x02(" + harm("constants") + b"t.")
    sample("constants.pt", saved(module, source, constants), "dangerous", ("os.system",))
    program = {"schema_version": {"major": 8, "minor": 20}, "graph_module": {"graph": {"nodes": []}, "signature": {}}}
    entries = [("archive_format", b"pt2"), ("models/model.json", json.dumps(program).encode())]
    inputs = ("data/sample_inputs/model.pt", saved(b"\x80\x02" + harm("sample_inputs") + b"."))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (*entries, inputs):
            archive.writestr("m/" + name, content)
    sample("sample_inputs.pt2", file.getvalue(), "dangerous", ("os.system",))
    callbacks = b"}" + text("EarlyStopping") + b"}" + text("state") + harm("lightning") + b"ss"
    checkpoint = b"\x80\x02}(" + text("pytorch-lightning_version") + text("2.4.0") + text("callbacks") + callbacks + text("state_dict") + b"}" + text("fc.weight") + tensor() + b"su."
    sample("lightning.ckpt", saved(checkpoint), "dangerous", ("os.system",), (), ("fc.weight",), load="zip")
    graph = b"}(" + text("_code") + text("\n\n\ndef forward(self, x):\n    return x\n" + code("fx_source")) + text("_modules") + b"}u"
    sample("fx_source.pt", saved(b"\x80\x02" + call(get("torch.fx.graph_module", "reduce_graph_module"), graph, text("")) + b"."), "dangerous", ("open(",))
    good = b"}(" + text("_code") + text("\n\n\ndef forward(self, x):\n    return x\n") + text("_modules") + b"}u"
    sample("fx_graph.pt", saved(b"\x80\x02" + call(get("torch.fx.graph_module", "reduce_graph_module"), good, text("")) + b"."), "unknown")


def bombs():
    laughs = b"\x80\x02]q\x00"
    for level in range(60):
        laughs += b"(" + (b"h" + bytes([level])) * 10 + b"tq" + bytes([level + 1])
    sample("laughs.pt", saved(laughs + b"."), "safe")
    sample("memo.pkl", b"\x80\x02" + b"".join(b"Nr" + struct.pack("<I", index * 65_537) + b"0" for index in range(50_000)) + b"N.", "safe")
    sample("memo_of_names.pkl", b"\x80\x04" + b"".join(text("m" * 250 + str(index)) + b"\x940" for index in range(200)) + b"".join(b"h" + bytes([one]) + b"h" + bytes([other]) + b"\x930" for one in range(200) for other in range(200)) + b"N.", "CorruptFile")
    sample("deep.pt", saved(b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b"."), "safe")
    sample("deep_calls.pt", saved(b"\x80\x02" + get("torch", "Size") + b"q\x00" + b"h\x00" * 100_000 + b"N" + b"\x85R" * 100_000 + b"."), "unknown", ("torch.Size",))
    sample("self_reference.pt", saved(b"\x80\x02}q\x00" + text("_modules") + b"h\x00s" + text("a") + b"h\x00s."), "safe")
    sample("long_number.pkl", b"\x80\x02\x8b\xff\xff\xff\x7f\x01.", "CorruptFile")
    sample("long_digits.pkl", b"L" + b"9" * 1_000_000 + b"L\n.", "UnsupportedFormat")
    sample("long_text.pt", saved(b"\x80\x04\x8d" + b"\xff" * 8 + b"a."), "CorruptFile")
    modules = b"}q\x01(" + b"".join(text(f"m{index}") + get("torch.nn", "Module") + b")\x81h\x02b" for index in range(9_000)) + b"u"
    shared = b"}q\x02(" + b"".join(text(f"w{index}") + b"K\x01" for index in range(9_000)) + text("_modules") + b"}u0"
    sample("shared_state.pt", saved(b"\x80\x02" + shared + get("torch.nn", "Module") + b")\x81}" + text("_modules") + modules + b"sb."), "CorruptFile")


def archives():
    harm = b"\x80\x02" + call(get("os", "system"), touch("archive")) + b"."
    plain = b"\x80\x02N."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("m/data.pkl", plain), ("m/data.pkX", harm)):
            archive.writestr(name, content)
    sample("two_data_pkl.pt", file.getvalue().replace(b"data.pkX", b"data.pkl"), "dangerous")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("a/data.pkl", harm), ("b/data.pkl", plain)):
            archive.writestr(name, content)
    sample("two_folders.pt", file.getvalue(), "dangerous", ("os.system",))
    for stem, name in (("traversal", "m/../../evil"), ("absolute", "/tmp/evil"), ("drive", "C:/evil"), ("backslash", "m\\..\\evil")):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("m/data.pkl", plain)
            archive.writestr(name, b"")
        sample(f"{stem}.pt", file.getvalue(), "UnsafeFile")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/data.pkl", plain)
        link = zipfile.ZipInfo("m/data/0")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, b"/etc/passwd")
    sample("symbolic_link.pt", file.getvalue(), "UnsafeFile")
    honest = saved(plain)
    directory = honest.index(b"PK\x01\x02")
    for stem, at, value in (("packed_size", 20, 2**31), ("size", 24, 2**31), ("offset", 42, 2**31)):
        lying = bytearray(honest)
        struct.pack_into("<I", lying, directory + at, value)
        sample(f"lying_{stem}.pt", bytes(lying), "CorruptFile")
    for stem, at in (("local_size", 22), ("local_packed_size", 18)):
        lying = bytearray(honest)
        struct.pack_into("<I", lying, at, 1)
        sample(f"lying_{stem}.pt", bytes(lying), "dangerous")
    sample("other_local_name.pt", honest.replace(b"m/data.pkl", b"m/evil.pkl", 1), "dangerous")
    sample("bomb.pt", saved(plain, compression=zipfile.ZIP_DEFLATED, storage=bytes(64 << 20)), "UnsafeFile")
    overlapping = bytearray(honest)
    second = honest.index(b"PK\x01\x02", directory + 4)
    struct.pack_into("<I", overlapping, second + 42, 0)
    sample("overlapping.pt", bytes(overlapping), "dangerous")
    count = bytearray(honest)
    end = honest.index(b"PK\x05\x06")
    struct.pack_into("<HH", count, end + 8, 65_535, 65_535)
    sample("lying_count.pt", bytes(count), "CorruptFile")
    sample("empty.pt", honest[end:], "UnsupportedFormat")


def tensors():
    one = lambda **view: saved(b"\x80\x02}" + text("w") + tensor(**view) + b"s.")
    huge = b"\x8a\x08" + b"\xff" * 7 + b"\x7f"
    sample("sound.pt", one(), "safe", (), (), ("w",))
    sample("behind_the_storage.pt", one(size=b"K\x03"), "CorruptFile")
    sample("before_the_storage.pt", one(offset=b"J\xff\xff\xff\xff"), "CorruptFile")
    sample("negative_stride.pt", one(offset=b"K\x01", stride=b"J\xff\xff\xff\xff"), "CorruptFile")
    sample("negative_size.pt", one(size=b"J\xff\xff\xff\xff"), "CorruptFile")
    sample("overflowing_size.pt", one(size=huge), "CorruptFile")
    sample("overflowing_stride.pt", one(stride=huge), "CorruptFile")
    sample("no_storage.pt", one(key="7"), "CorruptFile")
    sample("unknown_storage.pt", one(storage="EvilStorage"), "CorruptFile")
    sample("path_as_key.pt", one(key="../../../etc/passwd"), "CorruptFile")
    sample("many_dimensions.pt", saved(b"\x80\x02}" + text("w") + tensor(size=b"(" + b"K\x01" * 5_000 + b"t0K\x02") + b"s."), "safe", (), (), ("w",))


def load(row):
    """Loads a sample as Python or PyTorch would; PyTorch's own names are stood in for."""
    path = folder / row["file"]
    data = path.read_bytes()
    if row["load"] == "zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read("m/data.pkl")

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("torch.storage", "_load_from_bytes"):
                return lambda data: load_many(io.BytesIO(data))
            if module.partition(".")[0] == "torch":
                return lambda *arguments: None
            return super().find_class(module, name)

        def persistent_load(self, id):
            return None

    def load_many(file):
        # The memo is each pickle's own, the place in the file is not.
        while True:
            try:
                Unpickler(file).load()
            except EOFError:
                return None

    if row["load"] in ("second", "legacy"):
        try:
            load_many(io.BytesIO(data))
        except pickle.UnpicklingError:
            pass  # The elements of the storages.
    elif row["load"] == "protocol 2":
        # The names of Python 2 are known to protocols below 3.
        Unpickler(io.BytesIO(data[2:])).load()
    else:
        Unpickler(io.BytesIO(data)).load()


def check():
    """Each sample in a process of its own, for some end it."""

    def does_harm(row):
        command = [sys.executable, __file__, str(folder), "--load", row["file"]]
        subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return (markers / row["file"].rpartition(".")[0]).exists()

    loaded = [row for row in json.loads((folder / "manifest.json").read_text()) if row["load"]]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(json.dumps([row["file"] for row, harm in zip(loaded, pool.map(does_harm, loaded)) if harm]))


def main():
    if "--check" in sys.argv:
        return check()
    if "--load" in sys.argv:
        sys.path.insert(0, str(folder))
        return load(next(row for row in json.loads((folder / "manifest.json").read_text()) if row["file"] == sys.argv[3]))
    markers.mkdir(parents=True, exist_ok=True)
    for kind in (calls_of_commands, code_that_is_run, builtins_by_detours, opcodes, order, nested, places, bombs, archives, tensors):
        kind()
    (folder / "manifest.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
