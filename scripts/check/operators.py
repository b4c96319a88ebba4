#!/usr/bin/env python3
"""Compares the list of operators that models may call with the operators of PyTorch.

    operators.py            checks plugins/pytorch/contract/operators.txt; prints counts
    operators.py --missing  also prints the operators that are not in the list, which do not run

Needs the `torch` of the version that qp runs with. Exits with 1 if the list names an operator that PyTorch does not
have, names one twice, or leaves out one of `aten`, `quantized` or `prim`, where every operator is to be decided upon.
"""

import argparse
import collections
import pathlib
import sys

import torch

LIST = pathlib.Path(__file__).resolve().parents[2] / "plugins/pytorch/contract/operators.txt"
# Decided one by one; of other namespaces, what is not listed is not known.
COMPLETE = {"aten", "prim", "quantized", "_quantized", "onednn", "sparse", "quantization", "inductor", "mkldnn"}
# What qp registers itself, and syntax of TorchScript that is no operator with a schema.
OWN = {"qp", "quantized_decomposed", "torchao"}
SYNTAX = {
    "prim::" + name
    for name in """
    Constant If Loop GetAttr SetAttr CallMethod CallFunction CreateObject TupleConstruct TupleSlice ListConstruct
    ListUnpack DictConstruct isinstance unchecked_unwrap_optional Enter Exit fork awaitable Store Load Return Param
    EnumName EnumValue HasAttr Function ImplicitTensorToNum annotate Drop InterfaceCall
    """.split()
}


def read_list(text):
    """The verdict on each name, and the names that are there twice."""
    verdicts, twice, verdict = {}, [], None
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("= "):
            verdict = line.split()[1]
            continue
        for name in line.split():
            name = name if "::" in name else f"aten::{name}"
            if name in verdicts:
                twice.append(name)
            verdicts[name] = verdict
    return verdicts, twice


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", action="store_true", help="print the operators that are not in the list")
    arguments = parser.parse_args()

    verdicts, twice = read_list(LIST.read_text())
    registered = {schema.name for schema in torch._C._jit_get_all_schemas()}
    wildcards = {name.split("::")[0] for name in verdicts if name.endswith("::*")}
    counts = collections.Counter()
    missing = []
    for name in registered:
        namespace = name.split("::")[0]
        verdict = verdicts.get(name) or ("refused" if namespace in wildcards else None)
        counts[verdict or "unknown"] += 1
        if verdict is None:
            missing.append(name)
    faults = [f"{name}: twice in the list" for name in twice]
    for name in verdicts:
        namespace = name.split("::")[0]
        if not (name in registered or name.endswith("::*") or namespace in OWN or name in SYNTAX):
            faults.append(f"{name}: PyTorch {torch.__version__} has no such operator")
    faults += [f"{name}: not in the list" for name in sorted(missing) if name.split("::")[0] in COMPLETE]

    print(f"PyTorch {torch.__version__}: {len(registered)} operators")
    for verdict in ("allowed", "refused", "unsafe", "unknown"):
        print(f"  {verdict:8} {counts[verdict]}")
    if arguments.missing:
        print("\n".join(sorted(missing)))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
