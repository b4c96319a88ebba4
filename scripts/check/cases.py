#!/usr/bin/env python3
"""Holds what qp prints about a folder of small models against the right values, fact by fact.

    scripts/check/cases.py [--qp target/release/qp] [--match TEXT] FOLDER

FOLDER has `onnx/`, `torch/` and `broken/`, in each a folder for each case. The facts stand in `cases_onnx.py` and
`cases_torch.py`: what to ask, how to take the value from the answer, what is right. Right is what the case's truth.md
says or what NumPy, ONNX Runtime without optimization or PyTorch compute here; never what qp printed. Of the broken
files only this: qp ends by itself, with exit code 0 to 2, with one error if it fails, and writes nothing; of the files
that run code when they are loaded: the verdict is not "safe". What can kill a native runtime is opened and not run.

Needs the packages of scripts/requirements-models.txt, and safetensors. Prints a line for each case: right and wrong; below it
each wrong fact with what was found. Fails if one is wrong.
"""

import argparse
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from verdict import CHECKOUT

SECONDS = 120
# What runs in a native runtime and may kill it.
NATIVE = range(40, 50)
SAFE_CODES = (0, 1, 2)


class Case:
    """A folder, what qp answers about it, and the count of what is right."""

    def __init__(self, qp, folder, scratch):
        self.qp, self.folder, self.scratch = qp, folder, scratch
        self.right, self.wrong, self.answers = 0, [], {}

    def ask(self, line):
        """The JSON documents that the commands print; the last is an error where one fails."""
        if line not in self.answers:
            self.answers[line] = self.run(line)
        documents, code = self.answers[line]
        if code not in SAFE_CODES:
            raise ValueError(f"exit code {code}")
        return documents

    def run(self, line):
        command = [self.qp, "--format", "json", "-c", line]
        try:
            shown = subprocess.run(command, capture_output=True, check=False, cwd=self.folder, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return [], f"none in {SECONDS} s"
        lines = shown.stdout.decode("utf-8", "replace").splitlines()
        return [json.loads(row) for row in lines if row.startswith("{")], shown.returncode

    def holds(self, what, take, expected, tolerance=0.0):
        """Counts a fact; `take` finds the value, and fails if there is none."""
        try:
            found = take()
            is_right = is_near(found, expected, tolerance)
        except Exception as error:
            found, is_right = f"{type(error).__name__}: {error}", False
        if is_right:
            self.right += 1
        else:
            self.wrong.append(f"{what}: {shortened(found)}, right is {shortened(expected)}")

    def fact(self, line, name, take, expected, tolerance=0.0):
        """A fact of the table: `take` gets the documents, `expected` may be a function of the folder."""
        if callable(expected):
            expected = expected(self.folder)
        self.holds(f"{line} | {name}", lambda: take(answered(self.ask(line))), expected, tolerance)


def answered(documents):
    """The documents, if no command failed."""
    if documents and "error" in documents[-1]:
        raise ValueError(error_text(documents[-1]))
    return documents


def error_text(document):
    return "; ".join([document["error"]["message"], *document["error"]["causes"]])


def is_near(found, expected, tolerance):
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(is_near(*pair, tolerance) for pair in zip(found, expected))
    if isinstance(expected, float):
        # JSON has no infinity; qp writes it as text.
        return float(found) == expected or (math.isfinite(expected) and abs(float(found) - expected) <= tolerance)
    return found == expected


def shortened(value):
    text = str(value)
    return text if len(text) <= 240 else text[:240] + "…"


def check_broken(case):
    """Ends by itself, with one error at the most; writes nothing; what runs code is not called safe."""
    name = case.folder.name
    models = [path for path in sorted(case.folder.iterdir()) if path.suffix in (".pt", ".pt2", ".onnx")]
    # What it might write goes into a folder of its own.
    case.folder = case.scratch / name
    case.folder.mkdir()
    for path in models:
        shutil.copy(path, case.folder / path.name)
    (case.folder / "pwned").mkdir()
    for path in models:
        check_ends(case, f"open {path.name}; info {path.name}")
        check_ends(case, f"load {path.name}; layers; quant")
        if not re.search("-libtorch-|-pt2-|-ort-", name):
            check_ends(case, f"load {path.name}; input random --shape 4,4; run")
        if "-safe-" in name or "-writes-file-" in name:
            case.holds(f"load {path.name}; info | not safe", lambda: verdict_of(case.ask(f"load {path.name}; info")) != "safe", True)
    known = {path.name for path in models} | {"pwned"}
    case.holds("files written", lambda: sorted(path.name for path in case.folder.rglob("*") if path.name not in known), [])


def check_ends(case, line):
    documents, code = case.run(line)
    case.holds(f"{line} | exit code", lambda: code in SAFE_CODES or code, True)
    errors = [document for document in documents if "error" in document]
    case.holds(f"{line} | errors", lambda: (len(errors), code == 0), (0, True) if code == 0 else (1, False))


def verdict_of(documents):
    """The first word of what qp says about loading it with PyTorch."""
    verdict = next(document["verdict"] for document in reversed(documents) if "verdict" in document)
    return verdict["verdict"] if isinstance(verdict, dict) else verdict


def checks_of(folder):
    """The kind of a case and its check; None where there is none."""
    import cases_onnx
    import cases_torch

    number = folder.name.split("-")[0]
    if folder.parent.name == "broken":
        return None if int(number) in NATIVE else check_broken
    module = {"onnx": cases_onnx, "torch": cases_torch}[folder.parent.name]
    return module.check


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/release/qp")
    parser.add_argument("--match", default="", help="only the cases whose path has this text")
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    right = wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("onnx", "torch", "broken"):
            for folder in sorted(path for path in (arguments.folder / kind).glob("*") if path.is_dir()):
                check = checks_of(folder.resolve())
                if arguments.match not in f"{kind}/{folder.name}" or check is None:
                    continue
                case = Case(str(arguments.qp.resolve()), folder.resolve(), pathlib.Path(scratch))
                check(case)
                print(f"{kind}/{folder.name}: right {case.right}, wrong {len(case.wrong)}", flush=True)
                for text in case.wrong:
                    print(f"    {text}", flush=True)
                right, wrong = right + case.right, wrong + len(case.wrong)
    print(f"right {right}, wrong {wrong}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
