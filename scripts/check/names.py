"""Holds the list of harmless names, plugins/pytorch/src/pickle/names.tsv, against PyTorch.

    python3 names.py              checks every row; exit code 1 if one does not hold
    python3 names.py --pins       prints the pins of the functions that were read, for REVIEWED below
    python3 names.py --propose    prints rows for modules of PyTorch and torchvision that would pass and are not listed

A name is what its row says: found in that module under that name and defined there, not imported by it. A class that is
built has `object.__new__`, and no `__getattr__`, `__getattribute__` or `__del__` that loading could come to. What Python
code a pickle can reach (`__setstate__`, `__new__`, the functions that are called) is in REVIEWED with a pin of its
source: other source has to be read again. No such code calls what was passed in, but for EXEMPT, each with its reason.

Needs PyTorch 2.13 (the version that was read), torchvision, NumPy; torchao's rows are skipped without it.
"""

import ast
import enum
import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import pkgutil
import sys
import textwrap
import types
import typing
import warnings

warnings.simplefilter("ignore")

import torch  # noqa: E402

LIST = pathlib.Path(__file__).parents[2] / "plugins/pytorch/src/pickle/names.tsv"

# Python code that a safe pickle can reach, read line by line, with a pin of what was read.
REVIEWED = {
    "torch._tensor:_rebuild_from_type": "4d48f271133c",
    "torch._tensor:_rebuild_from_type_v2": "ff2c7554173a",
    "torch._utils:_get_restore_location": "105a82223136",
    "torch._utils:_rebuild_device_tensor_from_cpu_tensor": "06da87e73e8e",
    "torch._utils:_rebuild_device_tensor_from_numpy": "30382cab37e3",
    "torch._utils:_rebuild_meta_tensor_no_storage": "81722387722d",
    "torch._utils:_rebuild_nested_tensor": "11f42af66b33",
    "torch._utils:_rebuild_parameter": "fcb48d43495d",
    "torch._utils:_rebuild_parameter_with_state": "957d6e4c7575",
    "torch._utils:_rebuild_qtensor": "f2cf04909aed",
    "torch._utils:_rebuild_sparse_tensor": "a4570d105588",
    "torch._utils:_rebuild_tensor": "f5acf47aa0dc",
    "torch._utils:_rebuild_tensor_v2": "8033137e4761",
    "torch._utils:_rebuild_tensor_v3": "4a9b016245ff",
    "torch._utils:_rebuild_wrapper_subclass": "53b813739472",
    "torch._utils:_restore_device_fake_mode": "1a1c72766c43",
    "torch._utils:_set_obj_state": "04a33e4fbbb1",
    "torch._utils:set_tensor_metadata": "e4d555b62057",
    "torch.ao.nn.quantized.modules.conv:_ConvNd.__setstate__": "b3fe7dc0331e",
    "torch.jit._pickle:build_boollist": "56c3b51df463",
    "torch.jit._pickle:build_doublelist": "0d1a5db21ec2",
    "torch.jit._pickle:build_intlist": "54ad5d79b0f6",
    "torch.jit._pickle:build_tensor_from_id": "0b61e35623bb",
    "torch.jit._pickle:build_tensorlist": "cc48782194cf",
    "torch.jit._pickle:restore_type_tag": "de5d52914f41",
    "torch.nn.modules.activation:LogSoftmax.__setstate__": "be555d51dff7",
    "torch.nn.modules.activation:MultiheadAttention.__setstate__": "d9f84d47f4c7",
    "torch.nn.modules.activation:Softmax.__setstate__": "be555d51dff7",
    "torch.nn.modules.activation:Softmin.__setstate__": "be555d51dff7",
    "torch.nn.modules.conv:_ConvNd.__setstate__": "afbb9709ca4c",
    "torch.nn.modules.module:Module.__setstate__": "eac295938055",
    "torch.nn.modules.module:_WrappedHook.__setstate__": "e4ae61968150",
    "torch.nn.modules.pooling:AvgPool3d.__setstate__": "39c12343fc94",
    "torch.nn.modules.rnn:RNNBase.__setstate__": "610b07a3f954",
    "torch.nn.modules.transformer:TransformerDecoderLayer.__setstate__": "76f9b0f043ee",
    "torch.nn.modules.transformer:TransformerEncoderLayer.__setstate__": "1674ea7d743d",
    "torch.nn.modules.upsampling:Upsample.__setstate__": "4168cc6c42c1",
    "torch.nn.parameter:Parameter.__new__": "8a6ceab2172a",
    "torch.optim.adadelta:Adadelta.__setstate__": "068b25d6b50d",
    "torch.optim.adagrad:Adagrad.__setstate__": "3043e48a2c6f",
    "torch.optim.adam:Adam.__setstate__": "15e12c611678",
    "torch.optim.adamax:Adamax.__setstate__": "068b25d6b50d",
    "torch.optim.adamw:AdamW.__setstate__": "022877e23109",
    "torch.optim.asgd:ASGD.__setstate__": "dc261167b0ba",
    "torch.optim.nadam:NAdam.__setstate__": "ca9218344789",
    "torch.optim.optimizer:Optimizer.__setstate__": "0ccffe5348d1",
    "torch.optim.optimizer:Optimizer._patch_step_function": "15a434bb57af",
    "torch.optim.optimizer:Optimizer.profile_hook_step": "c2387d11f5ca",
    "torch.optim.radam:RAdam.__setstate__": "0583027997bb",
    "torch.optim.rmsprop:RMSprop.__setstate__": "9d66be9c7451",
    "torch.optim.rprop:Rprop.__setstate__": "068b25d6b50d",
    "torch.optim.sgd:SGD.__setstate__": "6c3983671e54",
    "torch.optim:Adafactor.__setstate__": "84e66209efed",
    "torch.serialization:_get_layout": "31d3193d247f",
    "torch.storage:_load_from_bytes": "0a202212ac4a",
    "torchao.utils:_torchao_base_tensor__setstate__": "bfcb907e538c",
    "torch.nn.modules.module:Module.__setattr__": "bda2bcfa60a0",
    "torch.nn.modules.rnn:RNNBase.__setattr__": "325da9acb36b",
}

# Calls of what was passed in, that do no harm.
EXEMPT = {
    ("torch.optim.optimizer:Optimizer.__setstate__", "self.defaults.setdefault"): "the form `optimizer`: data alone",
    ("torch.optim.optimizer:Optimizer.__setstate__", "self._patch_step_function"): "a method, and attributes are data",
    ("torch.optim.optimizer:Optimizer._patch_step_function", "self.profile_hook_step"): "a method, and attributes are data",
    ("torch.optim.adam:Adam.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.optim.adagrad:Adagrad.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.optim.adagrad:Adagrad.__setstate__", "self.state.values"): "the form `optimizer`: data alone",
    ("torch.optim.adadelta:Adadelta.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.optim.adamax:Adamax.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.optim.asgd:ASGD.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.optim.nadam:NAdam.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.optim.radam:RAdam.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.optim.rmsprop:RMSprop.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.optim.rprop:Rprop.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.optim:Adafactor.__setstate__", "self.state.get"): "the form `optimizer`: data alone",
    ("torch.nn.modules.module:Module.__setstate__", "self.__dict__.update"): "a method of dict",
    ("torch.nn.modules.pooling:AvgPool3d.__setstate__", "self.__dict__.setdefault"): "a method of dict",
    ("torch.nn.modules.rnn:RNNBase.__setstate__", "self._flat_weights_names.extend"): "a list that it has just made",
    ("torch.nn.modules.module:Module.__setattr__", "self.__dict__.get"): "a method of dict",
    ("torch.nn.modules.module:Module.__setattr__", "self.register_parameter"): "a method: attributes of that name are data",
    ("torch.nn.modules.module:Module.__setattr__", "self.register_buffer"): "a method: attributes of that name are data",
    ("torch.nn.modules.rnn:RNNBase.__setattr__", "self._flat_weights_names.index"): "a list, or nothing but a listed function",
    ("torch.optim.optimizer:Optimizer.__setstate__", "self.__dict__.update"): "a method of dict",
    ("torch.optim.optimizer:Optimizer.profile_hook_step", "func"): "the method `step` of the class",
    ("torch.ao.nn.quantized.modules.conv:_ConvNd.__setstate__", "self.set_weight_bias"): "a method, and no attribute was set",
    ("torch._tensor:_rebuild_from_type", "func"): "a listed function, whose arguments were held against its row",
    ("torch._tensor:_rebuild_from_type_v2", "func"): "a listed function, whose arguments were held against its row",
    ("torch._tensor:_rebuild_from_type", "func(*args).as_subclass"): "a tensor",
    ("torch._utils:_restore_device_fake_mode", "tensor.untyped_storage"): "a tensor",
    ("torch._utils:_rebuild_device_tensor_from_cpu_tensor", "data.to"): "a tensor",
    ("torch._utils:_set_obj_state", "dict_state.items"): "a dictionary of Python's own",
    ("torch._utils:_set_obj_state", "slots_state.items"): "none",
    ("torch.nn.parameter:Parameter.__new__", "data.detach"): "a tensor",
    ("torch.nn.parameter:Parameter.__new__", "data.detach().requires_grad_"): "a tensor",
    ("torch._utils:_rebuild_qtensor", "scales.numel"): "data and tensors",
    ("torch._utils:_rebuild_qtensor", "zero_points.numel"): "data and tensors",
}

# What the rows of these forms reach without being named in them.
REACHED = [
    "torch._tensor:_rebuild_from_type",
    "torch._tensor:_rebuild_from_type_v2",
    "torch._utils:_set_obj_state",
    "torch._utils:set_tensor_metadata",
    "torch._utils:_restore_device_fake_mode",
    "torch._utils:_get_restore_location",
    "torch.nn.parameter:Parameter.__new__",
    "torch.optim.optimizer:Optimizer._patch_step_function",
    "torch.optim.optimizer:Optimizer.profile_hook_step",
    "torch.storage:_load_from_bytes",
]

# Names under which NumPy 1 and older versions of PyTorch know what is listed as another.
MOVED = {"numpy.core.multiarray"}

# Names that PyTorch 2.13 has no more.
GONE = {("torch.fx.graph_module", "reduce_deploy_graph_module")}


def rows():
    lines = [line for line in LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for line in lines[1:]:
        yield line.split("\t")


def definer(cls, name):
    return next((base for base in cls.__mro__ if name in base.__dict__), None)


def find(path):
    module, name = path.split(":")
    value = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return inspect.unwrap(value)


def source(path):
    return textwrap.dedent(inspect.getsource(find(path)))


def pin(path):
    return hashlib.sha256(source(path).encode()).hexdigest()[:12]


def calls_of_parameters(path):
    """The calls in a function whose callee is a parameter, or is found on one."""
    tree = ast.parse(source(path)).body[0]
    arguments = tree.args
    names = {a.arg for a in arguments.posonlyargs + arguments.args + arguments.kwonlyargs}
    names |= {a.arg for a in (arguments.vararg, arguments.kwarg) if a is not None}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        root = node.func
        while isinstance(root, (ast.Attribute, ast.Subscript, ast.Call)):
            root = root.func if isinstance(root, ast.Call) else root.value
        if isinstance(root, ast.Name) and root.id in names:
            yield ast.unparse(node.func)


def check_code(path, faults):
    if path not in REVIEWED:
        faults.append(f"{path} was not read")
        return
    if pin(path) != REVIEWED[path]:
        faults.append(f"{path} is not what was read: its pin is {pin(path)}")
    for call in sorted(set(calls_of_parameters(path))):
        if (path, call) not in EXEMPT:
            faults.append(f"{path} calls `{call}`, which was passed in")


def qualified(cls, name):
    return f"{cls.__module__}:{cls.__qualname__}.{name}"


def check_built(cls, faults, state):
    if definer(cls, "__new__") is not object:
        faults.append("has a `__new__` of its own")
    if type(cls).__call__ is not type.__call__:
        faults.append("has a metaclass that calls")
    for name in ("__getattribute__", "__del__", "__getattr__"):
        of = definer(cls, name)
        if of not in (None, object, torch.nn.Module):
            faults.append(f"has a `{name}`")
    of = definer(cls, "__setattr__")
    if of is not object:
        check_code(qualified(of, "__setattr__"), faults)
    of = definer(cls, "__setstate__")
    if state and of not in (None, object):
        check_code(qualified(of, "__setstate__"), faults)
    elif of not in (None, object):
        faults.append("has a `__setstate__`")
    elif state:
        faults.append("has no `__setstate__`")


def check(module, name, form):
    faults = []
    if module.startswith("torch.cuda") or module in MOVED or (module, name) in GONE:
        return faults
    if "." in name:
        return ["is a path of attributes"]
    if module == "torch._C._VariableFunctionsClass":
        value = getattr(torch._C._VariableFunctionsClass, name, None)
        ok = isinstance(value, (types.BuiltinFunctionType, types.MethodDescriptorType)) or callable(value)
        return [] if ok else ["is no function"]
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        return [f"is not there: {error}"]
    word = form.split()[0]
    if inspect.isclass(value):
        own = (value.__module__, value.__qualname__) == (module, name)
        # Storages are wrapped; the module of C types is that of their package.
        if not own and word not in ("storage", "own", "value") and not (module, name) == ("torch._C", "_VariableFunctionsClass"):
            faults.append(f"is {value.__module__}.{value.__qualname__} under another name")
    elif inspect.isfunction(value) and module != "torch.functional" and (value.__module__, value.__qualname__) != (module, name):
        faults.append(f"is {value.__module__}.{value.__qualname__} under another name")
    if word == "value":
        constants = (torch.dtype, torch.layout, torch.memory_format, torch.qscheme, type(...), type(NotImplemented))
        if not isinstance(value, constants) and value is not typing.Any:
            faults.append("is no constant")
    elif word == "class":
        check_built(value, faults, False)
    elif word == "module":
        check_built(value, faults, True)
    elif word in ("optimizer", "plain"):
        check_built(value, faults, True)
    elif word == "enum":
        if not issubclass(value, enum.Enum) or definer(value, "_missing_") not in (enum.Enum, None):
            faults.append("is no plain enumeration")
    elif word == "subclass":
        of = value.__dict__.get("__setstate__") or getattr(value, "__setstate__")
        if not issubclass(value, torch.Tensor):
            faults.append("is no subclass of Tensor")
        elif of is not torch.Tensor.__setstate__:
            check_code(f"{of.__module__}:{of.__qualname__}", faults)
    elif word == "function":
        if inspect.isclass(value) or not callable(value):
            faults.append("is no function")
    elif word in ("call", "own", "source") and inspect.isfunction(value) and module.startswith("torch"):
        if word != "source":
            check_code(f"{module}:{name}", faults)
    return faults


def reached():
    """All Python code that listed rows reach."""
    paths = set(REACHED)
    if importlib.util.find_spec("torchao") is not None:
        paths.add("torchao.utils:_torchao_base_tensor__setstate__")
    for module, name, form, _ in rows():
        if module.startswith(("torch.cuda", "torchao")) or module in MOVED:
            continue
        try:
            value = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
        word = form.split()[0]
        if inspect.isclass(value) and word in ("module", "optimizer", "plain"):
            cls = definer(value, "__setstate__")
            if cls not in (None, object):
                paths.add(qualified(cls, "__setstate__"))
                setter = definer(value, "__setattr__")
                if setter is not object:
                    paths.add(qualified(setter, "__setattr__"))
                for base in cls.__mro__[1:]:
                    if "__setstate__" in base.__dict__ and base is not object:
                        paths.add(qualified(base, "__setstate__"))
        elif inspect.isfunction(value) and word in ("call", "own") and module.startswith("torch"):
            paths.add(f"{module}:{name}")
    return sorted(paths)


def propose():
    listed = {(module, name) for module, name, *_ in rows()}
    for package in ("torch.nn.modules", "torch.ao.nn", "torch.ao.quantization", "torchvision.models", "torchvision.ops"):
        names = [package]
        root = importlib.import_module(package)
        names += [info.name for info in pkgutil.walk_packages(root.__path__, package + ".")]
        for module in names:
            try:
                found = importlib.import_module(module)
            except ImportError:
                continue
            for name, cls in sorted(vars(found).items()):
                if not inspect.isclass(cls) or (cls.__module__, cls.__qualname__) != (module, name):
                    continue
                if issubclass(cls, torch.nn.Module) and (module, name) not in listed and not check(module, name, "module"):
                    print(module, name, "module", "a module: Module.__setstate__ sets its attributes", sep="\t")


def main():
    if "--pins" in sys.argv:
        for path in reached():
            print(f'    "{path}": "{pin(path)}",')
        return
    if "--propose" in sys.argv:
        propose()
        return
    has_torchao = importlib.util.find_spec("torchao") is not None
    counts = {}
    wrong = 0
    for module, name, form, _ in rows():
        word = form.split()[0]
        if module.startswith("torchao") and not has_torchao:
            counts["skipped"] = counts.get("skipped", 0) + 1
            continue
        faults = check(module, name, form)
        counts[word] = counts.get(word, 0) + 1
        for fault in faults:
            print(f"{module}.{name} ({word}): {fault}")
        wrong += bool(faults)
    for path in reached():
        faults = []
        check_code(path, faults)
        for fault in faults:
            print(fault)
        wrong += bool(faults)
    print(f"PyTorch {torch.__version__}:", ", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
    print(f"{len(REVIEWED)} functions read, {wrong} rows or functions that do not hold")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
