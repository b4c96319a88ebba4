#!/usr/bin/env python3
"""Opens, summarises and lists every model of the `onnx` package's backend test data.

    scripts/check/onnx_suite.py [--qp target/release/qp] FOLDER

FOLDER is the unpacked wheel of onnx 1.21.0, which has 1,827 models: `pip download onnx==1.21.0 --no-deps`, then unzip.
Prints the best time of five for one `open` of them all as a whole process, how many were read, and for each that was
not the reason; then lists the layers of every model. Fails on a crash, on an error without a reason, and on a model that
the package can read and qp cannot.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent


def run(qp, lines):
    """The documents that qp answers with; fails when it dies."""
    shown = subprocess.run(
        [qp, "--format", "json"], input="\n".join(lines), capture_output=True, text=True, check=False
    )
    if shown.returncode not in (0, 1):
        sys.exit(f"qp ended with {shown.returncode}: {shown.stderr[-2000:]}")
    return [json.loads(line) for line in shown.stdout.splitlines()]


def is_readable(path):
    """Whether the Python package can parse and check the file's structure."""
    import onnx

    try:
        onnx.load(str(path), load_external_data=False)
        return True
    except Exception:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    qp, folder = str(arguments.qp), arguments.folder
    files = sorted(folder.rglob("*.onnx"))
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run([qp, "-c", f"open '{folder}'"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begin)
    [opened] = run(qp, [f"open '{folder}'"])
    models = opened["models"]
    failed = [model for model in models if model["error"]]
    print(f"{len(files)} files; one `open`: {min(seconds):.2f} s; {len(models) - len(failed)} read, {len(failed)} not")
    faults = 0
    for model in failed:
        print(f"  {model['name']}: {model['error']['message']}")
        faults += not model["error"]["message"] or is_readable(folder / model["name"])
    begin = time.perf_counter()
    listings = run(qp, [f"layers '{path}'" for path in files])
    layers = sum(len(listing.get("layers", [])) for listing in listings)
    errors = sum("error" in listing for listing in listings)
    print(f"layers of each: {layers} layers, {errors} errors, {time.perf_counter() - begin:.2f} s")
    [_, summary] = run(qp, [f"open '{folder}'", "summary"])
    print(f"summary: {len(summary['families'])} families")
    if len(models) != len(files) or len(listings) != len(files):
        print(f"{len(files)} files, {len(models)} models, {len(listings)} listings")
        faults += 1
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
