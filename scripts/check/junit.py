#!/usr/bin/env python3
"""Holds the XML reports of `qp run` against tests/junit.xsd, and against other schemas of JUnit's format that are given, with a
validator of XML Schema. Needs a built qp and `pip install xmlschema`.

    junit.py [--qp target/debug/qp] [XSD…]
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

import xmlschema

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = {
    "nothing": "",
    "passed": "assert 1 == 1\n",
    "unreadable": "if true\nassert 1 ==\n",
    "mixed": "section One\nassert 1 == 1\nassert 1 == 2 \"<&'> ü\"\nload no.onnx\nsection Two\nexpect-error NotFound load 'x<y>&.onnx'\n"
    "lod x\nsection One\nfor m in a '<b>' \"c'd\"\nassert '$m' == 'a'\nend\nfor m in *.none\nend\n",
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/debug/qp")
parser.add_argument("schemas", nargs="*", type=pathlib.Path, metavar="XSD")
arguments = parser.parse_args()

wrong = 0
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    scripts = {name: folder / f"{name}.qp" for name in SCRIPTS}
    for name, path in scripts.items():
        path.write_text(SCRIPTS[name])
    scripts["check"] = shutil.copytree(CHECKOUT / "models", folder / "models") / "check.qp"
    for name, path in scripts.items():
        report = folder / f"{name}.xml"
        command = [arguments.qp.resolve(), "-q", "run", "--keep-going", path, "--report", report]
        subprocess.run(command, capture_output=True)
        for schema in [CHECKOUT / "tests/junit.xsd", *arguments.schemas]:
            errors = list(xmlschema.XMLSchema(schema).iter_errors(report))
            wrong += len(errors)
            print(f"{name}: {schema.name}: {'valid' if not errors else errors[0].reason}")
sys.exit(wrong > 0)
