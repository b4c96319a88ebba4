#!/usr/bin/env python3
"""Compares the verdicts on model files with what loading the files does.

    scripts/check/verdict.py [--qp target/release/qp] [--json REPORT] [--servers 2] PATH…

PATH is a file, or a folder with files of the usual suffixes; a `manifest.json` of tests/malicious/ in it says which.
Needs torch 2.13, torchvision, numpy, picklescan 1.0.5 and fickling 0.1.12 (pip). Each file is loaded in `sandbox.py`,
which see, in every way that fits it: torch.load, pickle.load to the end of the file, torch.jit.load with a call,
torch.export.load. It *executes* if that runs, writes, connects, calls native code, changes the process, its modules or
classes, or imports a module from beside the file. Files of which only an entry does so, when it is unpickled by
itself, are counted as such. Source that torch.fx compiles is no execution by itself.

Prints how many files execute, by the verdicts of qp, picklescan (suspicious names: unknown), fickling (suspicious:
unknown) and of torch.load with weights_only=True; then every file that executes and that a tool calls safe, and what
else is worth a look: crashes and endless loops, and names or verdicts of the manifest that qp does not give. Fails if qp
calls a file safe that executes, in whichever way.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sandbox

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
SUFFIXES = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".p", ".ckpt", ".pt2", ".jit", ".ptl", ".dat", ".data", ".joblib"}
WAYS = {"torch": "torch.load", "pickle": "pickle.load", "jit": "torch.jit.load", "export": "torch.export.load"}
VERDICTS = ("safe", "unknown", "dangerous", "refused")


def files_of(paths):
    """The files to try, each with its row of a manifest if there is one."""
    for path in map(pathlib.Path, paths):
        if path.is_file():
            yield path, None
        elif (path / "manifest.json").is_file():
            for row in json.loads((path / "manifest.json").read_text()):
                yield path / row["file"], row
        else:
            for file in sorted(path.rglob("*")):
                if file.is_file() and file.suffix.lower() in SUFFIXES:
                    yield file, None


def ways_of(path):
    """The ways in which a file may be loaded."""
    ways = ["torch", "weights", "picklescan", "fickling"]
    head = path.read_bytes()[:4]
    if head != b"PK\x03\x04":
        return [*ways, "pickle"] + (["records"] if zipfile.is_zipfile(path) else [])
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2].lower() for name in archive.namelist()]
    except Exception:
        names = []
    ways.append("records")
    if any(name in ("constants.pkl", "model.json") or name.startswith("code/") for name in names):
        ways.append("jit")
    if any(name in ("archive_format", "serialized_exported_program.json") for name in names):
        ways.append("export")
    return ways


def of_qp(qp, path, home):
    """qp's verdict, and all that it says of the file."""
    environment = {"PATH": os.defpath, "QP_HOME": home, "QP_PLUGINS": str(pathlib.Path(qp).resolve().parent)}
    name = "'" + str(path).replace("'", "''") + "'"
    try:
        shown = subprocess.run(
            [qp, "--format", "json", "-c", f"info {name}"],
            capture_output=True,
            text=True,
            env=environment,
            cwd=home,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hangs", ""
    lines = shown.stdout.splitlines()
    document = json.loads(lines[-1]) if lines else {}
    if not document:
        return "crashes", shown.stderr[-500:]
    if "error" in document:
        return "refused", document["error"]["kind"] + ": " + document["error"]["message"]
    verdict = document.get("verdict") or "none"
    return {"unknown globals": "unknown"}.get(verdict, verdict), json.dumps(document.get("findings", []))


def examine(qp, files, servers=2):
    """A row for each file: the verdicts and what loading did."""
    rows, jobs, places = [], [], []
    with tempfile.TemporaryDirectory() as home, concurrent.futures.ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda one: of_qp(qp, one[0].resolve(), home), files))
    for (path, manifest), (verdict, says) in zip(files, said):
        row = {"file": str(path), "manifest": manifest, "qp": verdict, "qp_says": says, "loads": {}}
        rows.append(row)
        for way in ways_of(path):
            jobs.append({"path": str(path.resolve()), "way": way})
            places.append((row, way))
    with sandbox.Sandbox(count=servers) as box:
        if not box.greeting["is_apart"]:
            print("note: without namespaces; files can be written by what is loaded", file=sys.stderr)
        reports = box.run(jobs)
    for (row, way), report in zip(places, reports):
        if way in ("picklescan", "fickling"):
            row[way] = report.get("says", "refused") if report else "refused"
        else:
            row["loads"][way] = report or {"did": [], "noted": [], "ended": "server lost", "error": None}
    for row in rows:
        loads = row["loads"]
        weights = loads["weights"]
        row["weights_only"] = "safe" if weights["error"] is None and weights["ended"] == "well" else "refused"
        row["executes"] = [way for way in WAYS if way in loads and loads[way]["did"]]
        row["in_a_record"] = bool(loads.get("records", {}).get("did"))
    return rows


def shown_events(row, ways):
    events = [f"{kind} {text}" for way in ways for kind, text in row["loads"][way]["did"]]
    return events[-1][:120] if events else ""


def table(rows):
    tools = ("qp", "picklescan", "fickling", "weights_only")
    groups = (
        ("execute", [row for row in rows if row["executes"]]),
        ("execute in a record alone", [row for row in rows if row["in_a_record"] and not row["executes"]]),
        ("execute nothing", [row for row in rows if not row["executes"] and not row["in_a_record"]]),
    )
    print(f"{len(rows)} files\n")
    for name, group in groups:
        print(f"{len(group)} {name}")
        print("  " + "".join(f"{title:>14}" for title in ("", *VERDICTS, "other")))
        for tool in tools:
            counts = collections.Counter(row[tool] for row in group)
            other = sum(count for verdict, count in counts.items() if verdict not in VERDICTS)
            print("  " + f"{tool:>14}" + "".join(f"{counts[verdict]:>14}" for verdict in VERDICTS) + f"{other:>14}")
        print()
    for tool in tools:
        missed = [row for row in rows if row[tool] == "safe" and (row["executes"] or row["in_a_record"])]
        print(f"called safe by {tool}, and execute: {len(missed)}")
        for row in missed:
            ways = row["executes"] or ["records"]
            print(f"  {row['file']}  [{', '.join(ways)}] {shown_events(row, ways)}")
    print()


def remarks(rows):
    for row in rows:
        for way, report in row["loads"].items():
            if report["ended"] != "well":
                print(f"  {row['file']}: {way} ended with {report['ended']}; qp: {row['qp']}")
        if row["qp"] in ("hangs", "crashes"):
            print(f"  {row['file']}: qp {row['qp']} {row['qp_says']}")
        manifest = row["manifest"]
        if manifest:
            expected = {"unknown globals": "unknown"}.get(manifest["verdict"], manifest["verdict"])
            is_error = row["qp"] == "refused" and expected in row["qp_says"]
            if expected == "any" or (expected == "not safe" and row["qp"] != "safe"):
                pass
            elif row["qp"] != expected and not is_error:
                print(f"  {row['file']}: qp {row['qp']}, the manifest {expected}")
            for name in manifest["names"] if row["qp"] in ("unknown", "dangerous") else ():
                if name not in row["qp_says"]:
                    print(f"  {row['file']}: qp does not name {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp")
    parser.add_argument("--json", help="write every report here")
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("paths", nargs="+", metavar="PATH")
    arguments = parser.parse_args()
    rows = examine(str(arguments.qp), list(files_of(arguments.paths)), arguments.servers)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1))
    table(rows)
    print("remarks")
    remarks(rows)
    sys.exit(any(row["qp"] == "safe" and (row["executes"] or row["in_a_record"]) for row in rows))


if __name__ == "__main__":
    main()
