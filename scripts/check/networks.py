#!/usr/bin/env python3
"""Quantizes torchvision's classifiers at 224×224 and compares; every row of `qp compare` is computed again.

    scripts/check/networks.py [--qp target/release/qp] [--networks NAME,…] [-v] CACHE

Weights are random, the same each time; the statistics of batch norm are those of a few batches in training mode. The
networks are exported into CACHE, once, with any number of samples; what is done with each file, and what is printed,
stands in `onnx_pairs.py`. One form more than there: preprocessed, with a scale for each channel of the weights; and
operators of codes are made from the preprocessed file. Needs torch, torchvision, the packages of
scripts/requirements-models.txt, and sympy. All six take half an hour. Fails if a row is off, an output differs or qp
fails.
"""

import argparse
import pathlib
import sys
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import onnx_pairs
import torch
import torchvision
from onnxruntime.quantization import QuantFormat, QuantType
from verdict import CHECKOUT

NETWORKS = "mobilenet_v2 resnet50 efficientnet_b0 convnext_tiny vit_b_16 swin_t".split()
BATCHES = 4
OPSET = 17


def export(name, target):
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).train()
    with torch.no_grad():
        for _ in range(BATCHES):
            model(torch.rand(8, 3, 224, 224))
    names = {"input_names": ["input"], "output_names": ["output"]}
    free = {"dynamic_axes": {"input": {0: "N"}, "output": {0: "N"}}}
    example = torch.rand(2, 3, 224, 224)
    torch.onnx.export(model.eval(), example, str(target), dynamo=False, opset_version=OPSET, **names, **free)


def per_channel(source, target, feeds):
    ready = onnx_pairs.preprocessed(source)
    onnx_pairs.quantize(ready, target, feeds, QuantFormat.QDQ, QuantType.QInt8, per_channel=True)


def qoperator(source, target, feeds):
    onnx_pairs.qoperator(onnx_pairs.preprocessed(source), target, feeds)


FORMS = onnx_pairs.FORMS | {"QOperator": qoperator, "QDQ int8 preprocessed per channel": per_channel}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", type=pathlib.Path, default=CHECKOUT / "target/release/qp")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("-v", "--verbose", action="store_true", help="list the rows that are off")
    parser.add_argument("cache", type=pathlib.Path)
    arguments = parser.parse_args()
    onnx_pairs.be_quiet()
    warnings.filterwarnings("ignore")
    cache, totals = arguments.cache.resolve(), onnx_pairs.Totals()
    cache.mkdir(parents=True, exist_ok=True)
    for name in filter(None, arguments.networks.split(",")):
        source = cache / f"{name}.onnx"
        if not source.exists():
            part = source.with_suffix(".part")
            export(name, part)
            part.rename(source)
        onnx_pairs.check_file(str(arguments.qp.resolve()), name, source, cache / name, totals, arguments.verbose, FORMS)
    totals.finish()


if __name__ == "__main__":
    main()
