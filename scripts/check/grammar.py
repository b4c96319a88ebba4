#!/usr/bin/env python3
"""Loads random pickles made of the names that a safe file may have, and looks for one that does more than build.

    scripts/check/grammar.py [--count 100000] [--seed 1] [--verdicts PROGRAM] [--names names.tsv] [--keep FOLDER]

PROGRAM is the example `verdicts` of the PyTorch plugin: `cargo build --release -p qp-plugin-pytorch --example verdicts`.
Needs torch 2.13, torchvision, torchao and numpy. A pickle is made in the order of its opcodes, of all protocols: names
of the list used as the list says, and now and then against it: another argument, one more, a state of another form,
attributes that Python looks up by itself, INST, OBJ and NEWOBJ_EX in place of REDUCE and NEWOBJ, BUILD twice, items and
elements for objects that are no containers, values got from the memo and changed after their use, objects as keys,
persistent ids of other forms. Texts are commands, paths, source and names of modules that would leave a trace if they
were ever run, opened, executed or imported.

qp says which are safe (each as `data.pkl` of an archive); these are loaded in `sandbox.py`, many to a process. Prints
how many were safe, how many of these loaded without an exception, and every finding: what ran, wrote, connected, called
native code, changed the process, a module or a class; crashes, endless loops and exhausted memory are listed apart.
Fails on a finding. `--keep` writes their pickles to FOLDER.
"""

import argparse
import collections
import concurrent.futures
import io
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sandbox

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
BATCH = 400
VERDICTS = ("safe\t", "unknown\t", "unknown globals\t", "dangerous\t", "refused\t", "none\t")
TEXTS = (
    "touch pwned/shell",
    "__import__('os').system('touch pwned/eval')",
    "import os\nos.system('touch pwned/exec')",
    "open('pwned/source', 'w')",
    "pwned/path",
    "../scratch/pwned/path",
    "pwned_module",
    "os.system",
    "weight",
    "cpu",
    "relu",
    "",
    "{0.__class__}",
)
SPECIAL = (
    "__setstate__ __class__ __dict__ __call__ __reduce__ __getattr__ __del__ __init__ __len__ __iter__ __eq__ __hash__ append extend add items "
    "keys update setdefault get pop startswith dtype device data grad close shape forward training step defaults "
    "param_groups state _modules _parameters _buffers _forward_hooks _backward_hooks _forward_pre_hooks _state_dict_hooks "
    "_load_state_dict_pre_hooks hook module with_module all_weights _flat_weights_names num_layers bidirectional "
    "activation _packed_params dim names requires_grad is_leaf _keys _weight_bias bias weight"
).split()
STORAGES = {"FloatStorage": 4, "DoubleStorage": 8, "LongStorage": 8, "IntStorage": 4, "HalfStorage": 2, "ByteStorage": 1, "BoolStorage": 1, "CharStorage": 1, "BFloat16Storage": 2}
LEGACY = (
    b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}\x8c\x0dlittle_endian\x88s.\x80\x02%s.\x80\x02]."
)


def names_of(path):
    """form -> [(module, name, whole form)], of the rows of the list."""
    forms = collections.defaultdict(list)
    for line in path.read_text().splitlines():
        fields = line.split("\t")
        if line.startswith("#") or len(fields) < 4 or fields[0] == "module":
            continue
        forms[fields[2].partition(" ")[0]].append((fields[0], fields[1], fields[2]))
    return forms


class Maker:
    """One random pickle."""

    def __init__(self, forms, seed):
        self.forms, self.random = forms, random.Random(seed)
        self.protocol = self.random.choice((0, 1, 2, 2, 2, 3, 4, 4, 4, 5))
        self.out = bytearray(b"\x80" + bytes([max(self.protocol, 2)]))
        self.memo = []
        # Some pickles are honest, so that much is safe and loads; the rest goes against the list here and there.
        self.wildness = self.random.choice((0, 0, 0.01, 0.03, 0.08, 0.2))
        self.left = self.random.randrange(5, 60)

    def is_wild(self):
        return self.random.random() < self.wildness

    def emit(self, *pieces):
        for piece in pieces:
            self.out += piece

    def text(self, value=None):
        value = self.random.choice(TEXTS) if value is None else value
        data = value.encode()
        if self.protocol == 0 and self.random.random() < 0.3:
            self.emit(b"V" + value.encode("raw-unicode-escape").replace(b"\n", b"\\u000a") + b"\n")
        elif len(data) < 256 and self.protocol >= 4:
            self.emit(b"\x8c" + bytes([len(data)]) + data)
        else:
            self.emit(b"X" + struct.pack("<I", len(data)) + data)

    def int(self, value=None):
        value = self.random.choice((0, 1, 2, 3, -1, 7, 255, 65_536)) if value is None else value
        if self.protocol == 0:
            self.emit(b"I%d\n" % value)
        elif 0 <= value < 256:
            self.emit(b"K" + bytes([value]))
        else:
            self.emit(b"J" + struct.pack("<i", value))

    def bool(self, value=None):
        self.emit(b"\x88" if (self.random.random() < 0.5 if value is None else value) else b"\x89")

    def bytes(self, value=b"\x00\x01\x02\x03\x04\x05\x06\x07"):
        self.emit(b"B" + struct.pack("<I", len(value)) + value)

    def scalar(self):
        self.random.choice(
            (self.text, self.text, self.int, self.bool, self.bytes, lambda: self.emit(b"N"), lambda: self.emit(b"G" + struct.pack(">d", 0.5)))
        )()

    def name(self, module, name):
        if self.protocol >= 4 and self.random.random() < 0.7:
            self.text(module)
            self.text(name)
            self.emit(b"\x93")
        else:
            self.emit(f"c{module}\n{name}\n".encode())

    def any_name(self, *forms):
        rows = self.forms.get(self.random.choice(forms)) or self.forms["value"]
        row = self.random.choice(rows)
        while row[0] == "torch._C._VariableFunctionsClass":
            row = self.random.choice(self.forms["value"])
        self.name(row[0], row[1])
        return row

    def put(self):
        if self.random.random() < 0.25 and len(self.memo) < 250:
            number = len(self.memo)
            self.memo.append(number)
            self.emit(b"q" + bytes([number]))

    def got(self):
        self.emit(b"h" + bytes([self.random.choice(self.memo)]))

    def sequence(self, make, count=None, kind=None):
        kind = kind or self.random.choice("lt")
        count = self.random.randrange(3) if count is None else count
        if kind == "l":
            self.emit(b"](")
        else:
            self.emit(b"(")
        for _ in range(count):
            make()
        self.emit({"l": b"e", "t": b"t", "f": b"\x91"}[kind])

    def ints(self, *values):
        self.emit(b"(")
        for value in values:
            self.int(value)
        self.emit(b"t")

    def ordered(self):
        self.name("collections", "OrderedDict")
        self.emit(b")R")

    def mapping(self, make, keys=None):
        if self.random.random() < 0.2:
            self.ordered()
        else:
            self.emit(b"}")
        self.put()
        self.emit(b"(")
        for key in keys if keys is not None else [self.random.choice(TEXTS) for _ in range(self.random.randrange(4))]:
            if self.is_wild():
                self.value()
            else:
                self.text(key)
            make()
        self.emit(b"u")

    # Values.

    def data(self):
        self.left -= 1
        if self.left < 0 or self.random.random() < 0.6:
            self.scalar()
        else:
            self.random.choice((lambda: self.sequence(self.data), lambda: self.mapping(self.data), lambda: self.sequence(self.data, kind="f")))()

    def plain(self):
        self.random.choice((self.data, self.data, self.tensor, self.storage))()

    def storage(self, elements=None):
        kind = self.random.choice(list(STORAGES))
        if self.is_wild():
            self.value()
            self.emit(b"Q")
            return 1
        self.emit(b"(")
        self.text("storage")
        self.name("torch", kind) if not self.is_wild() else self.value()
        self.text("0") if not self.is_wild() else self.value()
        self.text("cpu") if not self.is_wild() else self.value()
        count = 64 // STORAGES[kind]
        self.int(count)
        self.emit(b"tQ")
        return count

    def tensor_arguments(self, name):
        count = self.storage()
        self.int(0)
        shape = self.random.choice(((1,), (2,), (2, 2), (), (4, 2))) if count >= 8 else (1,)
        self.ints(*shape)
        self.ints(*[1] * len(shape))
        if name != "_rebuild_tensor":
            self.bool(False)
            self.ordered()
        if name == "_rebuild_tensor_v3":
            self.name("torch", "float32")

    def tensor(self):
        self.left -= 1
        if self.is_wild():
            return self.value()
        name = self.random.choice(("_rebuild_tensor_v2", "_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_parameter"))
        self.name("torch._utils", name)
        self.emit(b"(")
        if name == "_rebuild_parameter":
            self.tensor()
            self.bool(False)
            self.ordered()
        else:
            self.tensor_arguments(name)
        self.stray()
        self.emit(b"tR")
        self.put()

    def array(self):
        self.name("numpy._core.multiarray", "_reconstruct")
        self.emit(b"(")
        self.name("numpy", "ndarray")
        self.ints(0)
        self.bytes(b"b")
        self.emit(b"tR")
        self.put()
        self.emit(b"(")
        self.int(1)
        self.ints(2)
        objects = self.random.random() < 0.3
        self.element_type(objects)
        self.bool(False)
        if objects:
            self.emit(b"](")
            self.value()
            self.value()
            self.emit(b"e")
        else:
            self.bytes(b"\x00" * 8)
        self.emit(b"tb")

    def element_type(self, objects=False):
        self.name("numpy", "dtype")
        self.emit(b"(")
        self.text("O8" if objects else "f4")
        self.bool(False)
        self.bool(True)
        self.emit(b"tR(")
        self.int(3)
        self.text("|" if objects else "<")
        self.emit(b"NNN")
        self.int(-1)
        self.int(-1)
        self.int((63 if objects else 0) if not self.is_wild() else 27)
        self.emit(b"tb")

    def stray(self):
        """One more argument, rarely."""
        if self.is_wild():
            self.value()

    def attributes(self, make=None):
        if self.is_wild():
            return self.value()
        keys = [self.random.choice(SPECIAL[15:]) for _ in range(self.random.randrange(5))]
        if self.is_wild():
            keys.append(self.random.choice(SPECIAL))
        if self.random.random() < 0.1:
            self.emit(b"(")
            self.mapping(make or self.value, keys)
            self.emit(b"N" if not self.is_wild() else b"}", b"t")
        else:
            self.mapping(make or self.value, keys)

    def module_state(self):
        """Attributes as a module has them, and some more."""
        self.emit(b"}(")
        for key in ("_parameters", "_buffers", "_modules"):
            self.text(key)
            if self.is_wild():
                self.value()
                continue
            self.emit(b"}(")
            for _ in range(self.random.randrange(2) if self.left > 0 else 0):
                self.text(self.random.choice(("weight", "bias", "0", "1")))
                self.tensor() if key != "_modules" else self.built("module")
            self.emit(b"u")
        self.text("training")
        self.bool()
        for _ in range(self.random.randrange(4)):
            self.text(self.random.choice(SPECIAL[15:] if not self.is_wild() else SPECIAL))
            self.value()
        self.emit(b"u")

    def built(self, form=None):
        """An object of a class that is built empty, then given attributes."""
        form = form or self.random.choice(("module", "module", "class", "optimizer", "plain"))
        if not self.forms.get(form):
            return self.scalar()
        self.left -= 3
        way = self.random.random() if self.is_wild() else 0
        if way > 0.8:
            module, name, _ = self.random.choice(self.forms[form])
            self.emit(b"(")
            if self.random.random() < 0.5:
                self.value()
            self.emit(f"i{module}\n{name}\n".encode())
        elif way > 0.6:
            self.emit(b"(")
            self.any_name(form)
            if self.random.random() < 0.5:
                self.value()
            self.emit(b"o")
        elif way > 0.4:
            self.any_name(form)
            self.emit(b")")
            self.mapping(self.value)
            self.emit(b"\x92")
        elif self.protocol < 2 and not way:
            self.name("copyreg", "_reconstructor")
            self.emit(b"(")
            self.any_name(form)
            self.name("builtins", "object")
            self.emit(b"NtR")
        else:
            self.any_name(form)
            self.emit(b")" if not self.is_wild() else b"")
            if self.out[-1:] != b")":
                self.sequence(self.value, kind="t")
            self.emit(b"\x81" if way < 0.2 else b"R")
        self.put()
        for _ in range(2 if self.is_wild() else 1):
            if form == "module":
                self.module_state()
            elif form == "class":
                self.attributes()
            elif form == "optimizer":
                self.emit(b"}(")
                self.text("param_groups")
                self.sequence(lambda: self.mapping(self.plain), kind="l")
                self.text("state")
                self.mapping(self.plain)
                self.text("defaults")
                self.mapping(self.plain)
                self.emit(b"u")
            else:
                self.mapping(self.plain, [self.random.choice(SPECIAL[15:]) for _ in range(2)])
            self.emit(b"b")

    def argument(self, kind):
        if self.is_wild():
            return self.value()
        if kind == "subclass":
            return self.any_name("subclass")
        makers = {
            "data": self.data,
            "plain": self.plain,
            "any": self.value,
            "text": self.text,
            "int": lambda: self.int(self.random.choice((0, 1, 2, 3))),
            "number": self.int,
            "bool": self.bool,
            "ints": lambda: self.ints(*self.random.choice(((), (1,), (2,), (1, 1)))),
            "tensor": self.tensor,
            "storage": self.storage,
            "array": self.array,
            "list": lambda: self.sequence(self.data, kind="l"),
            "pairs": lambda: self.mapping(self.value),
            "attributes": self.attributes,
        }
        return makers.get(kind, self.data)()

    def called(self):
        """A call of a listed function with the arguments that its row says."""
        module, name, form = self.random.choice(self.forms["call"])
        self.left -= 2
        if name.startswith("_rebuild_tensor") and not self.is_wild():
            self.name(module, name)
            self.emit(b"(")
            self.tensor_arguments(name)
            self.stray()
            self.emit(b"tR")
            return self.put()
        parameters, _, result = form.removeprefix("call ").partition("=")
        self.name(module, name)
        self.emit(b"(")
        for parameter in parameters.split():
            if parameter.endswith("?") and self.random.random() < 0.5:
                break
            for _ in range(self.random.randrange(3) if parameter.endswith("*") else 1):
                self.argument(parameter.rstrip("?*"))
        self.stray()
        self.emit(b"tR")
        self.put()
        if result.strip() == "mapping" and self.random.random() < 0.5:
            self.emit(b"(")
            self.text()
            self.value()
            self.emit(b"u")
        if result.strip() == "sequence" and self.random.random() < 0.5:
            self.value()
            self.emit(b"a")

    def own(self):
        """The names that have a form of their own."""
        self.left -= 2
        module, name, _ = self.random.choice(self.forms["own"] or [("builtins", "bytearray", "")])
        if name == "dtype":
            return self.element_type()
        if name == "_reconstruct":
            return self.array()
        self.name(module, name)
        self.emit(b"(")
        if name == "getattr":
            self.name("torch._C", "_VariableFunctionsClass")
            functions = [row[1] for row in self.forms["function"] if row[0] == "torch._C._VariableFunctionsClass"]
            self.text(self.random.choice(functions or ["relu"]))
        elif name == "type":
            self.emit(b"N")
        elif name == "encode":
            self.text()
            self.text("latin1")
        elif name == "bytearray":
            self.bytes()
        elif name == "defaultdict":
            self.name("builtins", self.random.choice(("list", "dict", "int")))
        elif name == "_reconstructor":
            self.any_name(self.random.choice(("module", "class")))
            self.name("builtins", "object")
            self.emit(b"N")
        elif name == "scalar":
            self.element_type()
            self.bytes(b"\x00\x00\x80\x3f")
        elif name.startswith("_rebuild_from_type"):
            if self.is_wild():
                self.any_name("call", "type", "module", "class")
            else:
                self.name("torch._utils", "_rebuild_tensor_v2")
            self.name("torch", "Tensor")
            self.emit(b"(")
            self.tensor_arguments("_rebuild_tensor_v2")
            self.emit(b"t")
            self.attributes()
        elif name == "_load_from_bytes":
            self.bytes(LEGACY.replace(b"%s", b"N"))
        else:
            self.argument("data")
        self.stray()
        self.emit(b"tR")
        self.put()
        if name in ("defaultdict", "_reconstructor", "ScriptObject") and self.random.random() < 0.6:
            self.attributes()
            self.emit(b"b")

    def value(self):
        self.left -= 1
        if self.left < 0:
            return self.scalar()
        choice = self.random.random()
        if self.memo and choice < 0.08:
            self.got()
        elif choice < 0.30:
            self.data()
        elif choice < 0.45:
            self.tensor()
        elif choice < 0.60:
            self.built()
        elif choice < 0.72:
            self.called()
        elif choice < 0.82:
            self.own()
        elif choice < 0.92:
            self.any_name("value", "type", "module", "class", "function", "storage", "enum", "subclass") if not self.is_wild() else self.any_name("call", "own")
        else:
            self.mapping(self.value) if self.random.random() < 0.5 else self.sequence(self.value)
        self.disturb()

    def disturb(self):
        """What no pickler writes: after a value, something is done to it or to one before."""
        if not self.is_wild():
            return
        what = self.random.randrange(8)
        if what == 0:
            self.value()
            self.emit(b"a")
        elif what == 1:
            self.sequence(self.value, kind="t")
            self.emit(b"R")
        elif what == 2:
            self.emit(b"(")
            self.value()
            self.emit(b"\x90")
        elif what == 3:
            self.value()
            self.value()
            self.emit(b"s")
        elif what == 4:
            self.attributes()
            self.emit(b"b")
        elif what == 5 and self.memo:
            self.got()
            self.attributes()
            self.emit(b"b0")
        elif what == 6 and self.memo:
            self.got()
            self.emit(b"(")
            self.value()
            self.emit(b"e0")
        elif what == 7:
            self.emit(b"N")
            self.emit(b"(")
            self.text("__setstate__")
            self.any_name("function", "module")
            self.emit(b"d\x86b")

    def make(self):
        self.emit(b"}(")
        for _ in range(self.random.randrange(1, 4)):
            self.text()
            self.value()
        self.emit(b"u.")
        return bytes(self.out)


def archived(pickle):
    """The pickle as a file of torch.save."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("data.pkl", pickle), ("byteorder", b"little"), ("data/0", bytes(64)), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo("m/" + name, (1980, 1, 1, 0, 0, 0)), content)
    return file.getvalue()


def row_of(pieces):
    return b"".join(struct.pack("<I", len(piece)) + piece for piece in pieces)


def judged(arguments):
    """Makes a part of the pickles; gives those that qp calls safe, and the counts of verdicts."""
    names, program, first, count, seed = arguments
    forms = names_of(pathlib.Path(names))
    pickles = [Maker(forms, seed * 1_000_003 + number).make() for number in range(first, first + count)]
    with tempfile.NamedTemporaryFile() as file:
        file.write(row_of(map(archived, pickles)))
        file.flush()
        shown = subprocess.run([program, file.name], capture_output=True, text=True, check=False)
    lines = [line for line in shown.stdout.split("\n") if line.startswith(VERDICTS)]
    if shown.returncode != 0 or len(lines) != count:
        raise SystemExit(f"{program} ended with {shown.returncode} after {len(lines)} of {count}: {shown.stderr[-500:]}")
    verdicts = [line.partition("\t")[0] for line in lines]
    reasons = collections.Counter(line.partition("\t")[2][:80] for line in lines if line.startswith("refused"))
    safe = [(first + number, pickles[number]) for number, verdict in enumerate(verdicts) if verdict == "safe"]
    return safe, collections.Counter(verdicts), reasons


class Loader:
    """Loads pickles in the sandbox, batch by batch; a batch that ends early goes on behind the pickle that ended it."""

    def __init__(self, box, folder):
        self.box, self.folder = box, pathlib.Path(folder)
        self.loaded, self.findings, self.ends = 0, [], []
        self.errors = collections.Counter()

    def run(self, pickles):
        waiting = [(pickles[at : at + BATCH], 0) for at in range(0, len(pickles), BATCH)]
        while waiting:
            jobs = []
            for number, (batch, first) in enumerate(waiting):
                path = self.folder / f"batch{number}"
                path.write_bytes(row_of(pickle for _, pickle in batch))
                jobs.append({"path": str(path), "way": "many", "first": first, "seconds": 60})
            more = []
            for (batch, first), report in zip(waiting, self.box.run(jobs)):
                more += self.read(batch, first, report)
            waiting = more

    def read(self, batch, first, report):
        last = first - 1
        for index, one in report.get("each", []):
            last = max(last, index)
            number, pickle = batch[index]
            if one["over"]:
                self.loaded += one["error"] is None
                if one["error"]:
                    self.errors[one["error"].partition(":")[0]] += 1
                    if one["error"].startswith("MemoryError"):
                        self.ends.append((number, pickle, "memory"))
            if one["did"]:
                self.findings.append((number, pickle, one["did"]))
        whole = report["did"]
        numbers = {number for number, _, _ in self.findings}
        if whole and len(batch) - first > 1 and not any(number in numbers for number, _ in batch[first:]):
            # Something is changed that is looked at only in the end: find out by whom.
            half = (first + len(batch)) // 2
            return [(batch[first:half], 0), (batch[half:], 0)] if half > first else []
        if whole and len(batch) - first == 1:
            self.findings.append((*batch[first], whole))
        if report["ended"] != "well":
            at = max(last, first)
            self.ends.append((*batch[at], report["ended"]))
            return [(batch, at + 1)] if at + 1 < len(batch) else []
        return []


def controls():
    """Pickles that do more than build: a sandbox that does not notice each of them proves nothing."""
    call = lambda name, text: f"c{name}\nX".encode() + struct.pack("<I", len(text)) + text.encode() + b"\x85R."
    changed = b"ctorch.optim.lr_scheduler\nLambdaLR\nN}X\x06\x00\x00\x00get_lrNs\x86b."
    pickles = (
        call("os\nsystem", "touch pwned/control"),
        call("builtins\neval", "1 + 1"),
        call("torch._C\nPyTorchFileWriter", "pwned/control"),
        call("torch.jit._pickle\nbuild_intlist", "nothing"),
        call("importlib\nimport_module", "pwned_module"),
        changed,
    )
    return [(-1 - number, b"\x80\x02" + pickle) for number, pickle in enumerate(pickles)]


def is_watchful(box, folder):
    """Whether each of the controls is noticed but for the one that does nothing."""
    harmful = set()
    for number, pickle in controls():
        loader = Loader(box, folder)
        loader.run([(number, pickle)])
        harmful.update(number for number, _, _ in loader.findings)
    return harmful == {-1, -2, -3, -5, -6}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verdicts", default=CHECKOUT / "target/release/examples/verdicts")
    parser.add_argument("--names", default=CHECKOUT / "plugins/pytorch/src/pickle/names.tsv")
    parser.add_argument("--keep")
    parser.add_argument("--servers", type=int, default=2)
    arguments = parser.parse_args()
    start, counts, reasons, safe = time.monotonic(), collections.Counter(), collections.Counter(), 0
    shapes = collections.Counter()
    with sandbox.Sandbox(count=arguments.servers) as box, tempfile.TemporaryDirectory() as folder:
        if not is_watchful(box, folder):
            sys.exit("the sandbox does not notice what it has to notice")
        loader = Loader(box, folder)
        parts = range(0, arguments.count, 2_000)
        jobs = [(str(arguments.names), str(arguments.verdicts), first, min(2_000, arguments.count - first), arguments.seed) for first in parts]
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            for found, verdicts, why in pool.map(judged, jobs):
                counts += verdicts
                reasons += why
                safe += len(found)
                shapes.update(min(len(pickle) // 200, 10) for _, pickle in found)
                loader.run(found)
    print(f"{arguments.count} pickles in {time.monotonic() - start:.0f} s: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    for reason, count in reasons.most_common(5):
        print(f"  refused: {count} {reason}")
    print(f"{safe} safe ones loaded: {loader.loaded} without an exception ({100 * loader.loaded / max(safe, 1):.0f} %)")
    print("  " + ", ".join(f"{count} {error}" for error, count in loader.errors.most_common(8)))
    print("  bytes: " + ", ".join(f"{200 * size}+: {count}" for size, count in sorted(shapes.items())))
    print(f"{len(loader.findings)} findings")
    for number, _, traces in loader.findings[:50]:
        print(f"  {number}: {traces[:4]}")
    print(f"{len(loader.ends)} crashes, endless loops and exhausted memories")
    for number, _, end in loader.ends[:50]:
        print(f"  {number}: {end}")
    if arguments.keep:
        keep = pathlib.Path(arguments.keep)
        keep.mkdir(parents=True, exist_ok=True)
        for number, pickle, _ in loader.findings + loader.ends:
            (keep / f"{number}.pkl").write_bytes(pickle)
    sys.exit(bool(loader.findings))


if __name__ == "__main__":
    main()
