"""What every layer of a TorchScript module computes, found by Python's PyTorch, operator by operator.

An interpreter of the module's graphs: it calls submodules and functions as the code does, and runs each other node alone
as a graph of its own. It names values by the rules of plugins/pytorch/README.md and shares no code with qp.
"""

import pathlib
import re
import zipfile

import torch

CONTAINERS = set("Delete __getitem__ _set_item append clear copy dict extend get insert items keys list pop remove reverse values".split())
WHOLE = ("functional_modules", "torch.nn.modules.activation.", "torch.ao.nn.quantized.dynamic.modules.rnn")


def is_library(qualified):
    name = qualified.removeprefix("__torch__.")
    packages = ("torch.", "torchvision.ops.", "torchao.", "onnx2torch.")
    return name.startswith(packages) and not name.startswith("torch.fx.")


def holds_tensor(kind, or_none):
    """Whether a value of a type holds a tensor, or, with `or_none`, may hold one."""
    if isinstance(kind, torch.TensorType):
        return True
    if isinstance(kind, (torch._C.ListType, torch.TupleType, torch.DictType)):
        inner = kind.elements() if isinstance(kind, torch.TupleType) else [
            kind.getValueType() if isinstance(kind, torch.DictType) else kind.getElementType()]
        return any(holds_tensor(element, or_none) for element in inner)
    return or_none and isinstance(kind, torch.OptionalType) and holds_tensor(kind.getElementType(), or_none)


def parts(value, is_only):
    """The tensors in a value, and None where there is none; of a list within another value the first."""
    if isinstance(value, torch.Tensor) or value is None:
        return [value]
    if isinstance(value, list) and not is_only:
        return [element for element in value[:1] if isinstance(element, torch.Tensor)]
    if isinstance(value, (list, tuple)):
        return [part for element in value for part in parts(element, False)]
    if isinstance(value, dict):
        return [part for element in value.values() for part in parts(element, False)]
    return []


class Interpreter:
    """Runs `forward` of a module in a file."""

    def __init__(self, path):
        self.module = torch.jit.load(str(path)).eval()
        self.records = []  # (path, operator or "", values, the value itself)
        self.paths = {}
        self.read_modules(self.module, "")
        with zipfile.ZipFile(path) as archive:
            self.code = {
                re.sub(r"^.*?/code/|\.py$", "", name).replace("/", "."): archive.read(name).decode()
                for name in archive.namelist() if "/code/" in name and name.endswith(".py")}
        methods = "\n".join(self.code.values())
        methods = re.sub(r"  def __setstate__.*?(?=\n  def |\nclass |\ndef |\Z)", "", methods, flags=re.S)
        self.mutable = set(re.findall(r"^\s+\w+\.(\w+) = ", methods, flags=re.M))

    def read_modules(self, module, path):
        if module._c in self.paths:
            return
        self.paths[module._c] = path
        for name, child in module.named_children():
            self.read_modules(child, f"{path}.{name}" if path else name)

    def run(self, *inputs):
        """name -> tensor, in the order of computation, and the result."""
        self.records = []
        result = self.graph(self.module.forward.graph, [self.module, *inputs], "")
        taken, values, called = set(self.paths.values()), {}, set()
        taken |= {value.debugName().split(".")[0] for value in list(self.module.forward.graph.inputs())[1:]}
        numbers = {}

        def claim(stem):
            name = stem
            while name in taken:
                numbers[stem] = numbers.get(stem, 0) + 1
                name = f"{stem}_{numbers[stem]}"
            taken.add(name)
            return name

        for path, operator, found, _ in self.records:
            stem = (f"{path}.{operator}" if path else operator) if operator else path
            if not operator and path not in called:
                called.add(path)
                name = path
            else:
                name = claim(stem)
            for index, value in enumerate(found):
                if value is not None:
                    values[f"{name}:{index}" if index else name] = value
        return values, result

    def graph(self, graph, arguments, path, known=()):
        """Runs a graph; `known` says which of its arguments are flags that a run does not change."""
        names = [value.debugName() for value in graph.inputs()]
        values = dict(zip(names, arguments))
        self.nodes(graph, values, path, {name: flag for name, flag in zip(names, known) if flag is not None})
        results = [values[value.debugName()] for value in graph.outputs()]
        return results[0] if len(results) == 1 else tuple(results)

    def record(self, path, operator, node, results):
        """Keeps what a node computes, if its type says that it holds tensors."""
        outputs, found, is_one = list(node.outputs()), [], False
        for output, result in zip(outputs, results):
            if len(outputs) > 1 and operator not in ("if", "loop"):
                inner = [result if isinstance(result, torch.Tensor) else None]
            else:
                inner = parts(result, len(outputs) == 1 and operator not in ("if", "loop"))
            if not holds_tensor(output.type(), False):
                inner = [None] * len(inner)
            else:
                is_one = True
            found += [value.clone() if value is not None else None for value in inner]
        if is_one:
            tensors = sum(holds_tensor(output.type(), False) for output in outputs)
            self.records.append([path, operator, found, results[0] if tensors == 1 else None])

    def nodes(self, block, values, path, flags):
        for node in block.nodes():
            kind, inputs = node.kind(), [value.debugName() for value in node.inputs()]
            arguments = [values.get(name) for name in inputs]
            known = [flags.get(name) for name in inputs]
            takes = any(holds_tensor(value.type(), True) for value in node.inputs())
            outputs = [value.debugName() for value in node.outputs()]
            if kind == "prim::GetAttr":
                name = node.s("name")
                results = [getattr(arguments[0], name)]
                if isinstance(results[0], bool) and (name == "training" or name not in self.mutable):
                    flags[outputs[0]] = results[0]
            elif kind == "prim::Constant":
                results = [node.output().toIValue() if node.output().type().kind() != "FunctionType" else node]
                if isinstance(results[0], bool):
                    flags[outputs[0]] = results[0]
            elif kind == "prim::CallMethod" and isinstance(arguments[0], torch.jit.ScriptModule):
                results = [self.call(node, arguments, path, known)]
            elif kind == "prim::CallFunction":
                function = node.inputsAt(0).node()
                qualified = self.qualified(function)
                if is_library(qualified):
                    results = self.alone(node, values)
                    if takes:
                        self.record(path, qualified.split(".")[-1], node, results)
                else:
                    module, name = qualified.rsplit(".", 1)
                    unit = torch.jit.CompilationUnit(re.search(
                        rf"^def {name}\(.*?(?=^def |^class |\Z)", self.code[module], flags=re.S | re.M)[0])
                    results = [self.graph(unit.find_function(name).graph, arguments[1:], path, known[1:])]
            elif kind == "prim::If" and inputs[0] in flags:
                taken = list(node.blocks())[0 if flags[inputs[0]] else 1]
                self.nodes(taken, values, path, flags)
                names = [value.debugName() for value in taken.outputs()]
                results = [values[name] for name in names]
                flags.update({output: flags[name] for output, name in zip(outputs, names) if name in flags})
            else:
                results = self.alone(node, values)
                if kind == "aten::__not__" and inputs[0] in flags:
                    flags[outputs[0]] = not flags[inputs[0]]
                if kind in ("prim::If", "prim::Loop"):
                    self.record(path, kind.split("::")[1].lower(), node, results)
                elif not kind.startswith("prim::") and takes and kind.split("::")[1] not in CONTAINERS:
                    self.record(path, kind.split("::")[1], node, results)
            values.update(zip(outputs, results))

    def qualified(self, constant):
        """The full name of a function: of those of that name, the one in the code."""
        name = constant.s("name")
        found = [module for module, text in self.code.items() if re.search(rf"^def {name}\(", text, flags=re.M)]
        return f"{found[0]}.{name}"

    def call(self, node, arguments, path, known):
        module, name = arguments[0], node.s("name")
        inner, qualified = self.paths[module._c], module._c._type().qualified_name()
        children = [child for child in module.children() if child.original_name != "LinearPackedParams"]
        if inner != path and (any(part in qualified for part in WHOLE) or (is_library(qualified) and not children)):
            result = getattr(module, name)(*arguments[1:])
            self.record(inner, "", node, [result])
            return result
        start = len(self.records)
        result = self.graph(getattr(module, name).graph, arguments, inner, known)
        if inner == path or children or not holds_tensor(node.output().type(), False):
            return result
        # Of a module of the user's own: the operator that computes what it returns is the module.
        for record in self.records[start:]:
            if record[0] == inner and record[1] and record[3] is result:
                record[1] = ""
                return result
        self.record(inner, "", node, [result])
        return result

    @classmethod
    def alone(cls, node, values):
        """Runs one node, with all that it reads as inputs of a graph."""
        count = node.outputsSize()
        try:
            return cls.outputs_of(node, values, range(count))
        except RuntimeError as error:
            if "Uninitialized" not in str(error) or count == 0:
                raise
        # What a branch that returns leaves open cannot be handed over.
        results = []
        for index in range(count):
            try:
                results += cls.outputs_of(node, values, [index])
            except RuntimeError as error:
                if "Uninitialized" not in str(error):
                    raise
                results.append(None)
        return results

    @staticmethod
    def outputs_of(node, values, wanted):
        """Some of the outputs of one node."""
        graph, mapped, arguments = torch._C.Graph(), {}, []

        def copied(value):
            name = value.debugName()
            if name not in mapped:
                if value.node().kind() in ("prim::Constant", "prim::Uninitialized"):
                    clone = graph.createClone(value.node(), lambda other: other)
                    graph.prependNode(clone)
                    mapped[name] = clone.output()
                else:
                    mapped[name] = graph.addInput()
                    mapped[name].setType(value.type())
                    arguments.append(values[name])
            return mapped[name]

        clone = graph.createClone(node, copied)
        graph.appendNode(clone)
        outputs = [list(clone.outputs())[index] for index in wanted]
        # A list is handed over as a copy: what a node does to it comes back as a further result.
        lists = [(value, values[name]) for name, value in mapped.items()
                 if isinstance(value.type(), torch._C.ListType) and isinstance(values.get(name), list)]
        both = graph.create("prim::TupleConstruct", outputs + [value for value, _ in lists], 1)
        graph.appendNode(both)
        both.output().setType(torch._C.TupleType([value.type() for value in both.inputs()]))
        graph.registerOutput(both.output())
        results = list(torch._C._create_function_from_graph("node", graph)(*arguments))
        for (_, known), changed in zip(lists, results[len(outputs):]):
            known[:] = changed
        return results[:len(outputs)]


def values_of(path, *inputs):
    """name -> tensor of every layer of the module in a file, and what `forward` returns."""
    with torch.no_grad():
        return Interpreter(pathlib.Path(path)).run(*inputs)
