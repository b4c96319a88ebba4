#!/usr/bin/env python3
"""What lifts the accuracy of quantized models: qp's options beside those of AIMET and torchao, on the same models and samples.

    scripts/check/lifts.py aimet [--qp target/release/qp] MODEL.onnx SAMPLES.npz...
    scripts/check/lifts.py torchao [--qp target/release/qp] MODEL.onnx SAMPLES.npz...

`aimet` (the package aimet-onnx; its `default_config_per_channel`): weights of 8 and 4 bits per channel, activations of 8,
ranges by min and max; plain, cross-layer equalization, sequential MSE, AdaRound (`--iterations` for each layer). `torchao`:
weights alone, int4 per group of 16 or per channel, plain and HQQ; its weights are put back into the ONNX model. The models
are calibrated on the first half of the samples; the numbers are SQNR of the first output against the float model in dB, on
that half and on the other one, and seconds. Takes minutes.

Each of both needs its package and onnxruntime in a Python of its own; `cases` are pairs of arguments MODEL SAMPLES.
"""

import argparse
import copy
import pathlib
import subprocess
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

onnxruntime.set_default_logger_severity(3)
COUNT = 64


def samples_of(model, path):
    """All samples by input; an array `x` or `images` is that of the only input."""
    found = np.load(path)
    inputs = [value.name for value in model.graph.input]
    of = {name: found[name] if name in found else found["x" if "x" in found else "images"] for name in inputs}
    return {name: array[:COUNT] if array.dtype.kind == "i" else array[:COUNT].astype(np.float32) for name, array in of.items()}


def halves(arrays):
    half = len(next(iter(arrays.values()))) // 2
    return [{name: array[part] for name, array in arrays.items()} for part in (slice(0, half), slice(half, 2 * half))]


def run(session, arrays):
    count = len(next(iter(arrays.values())))
    fixed = session.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else count
    parts = [session.run(None, {name: array[at : at + size] for name, array in arrays.items()})[0] for at in range(0, count, size)]
    return np.concatenate(parts).astype(np.float64)


def opened(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def sqnr(reference, found):
    noise = np.sum((reference - found) ** 2)
    return 10 * np.log10(np.sum(reference**2) / noise) if noise else np.inf


def show(title, session, references, parts, seconds):
    levels = [sqnr(reference, run(session, part)) for reference, part in zip(references, parts)]
    print(f"  {title:44} {levels[0]:7.2f} {levels[1]:7.2f} {seconds:7.1f} s", flush=True)


def with_qp(arguments, path, calibration, flags, folder):
    stored, out = folder / "samples.npz", folder / "ours.onnx"
    np.savez(stored, **calibration)
    inputs = " ".join(f"{name}={stored}:{name}" for name in calibration)
    inputs = inputs if len(calibration) > 1 else f"{stored}:{next(iter(calibration))}"
    line = f"input {inputs}; quantize {path} --out {out} --force {flags}"
    start = time.perf_counter()
    shown = subprocess.run([arguments.qp, "-c", line], capture_output=True, check=False, text=True)
    if shown.returncode != 0:
        raise SystemExit(shown.stderr)
    return opened(out), time.perf_counter() - start


def aimet(arguments, path, model, parts, references, folder):
    import aimet_onnx
    from aimet_onnx import QuantizationSimModel
    from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight
    from aimet_onnx.cross_layer_equalization import equalize_model

    config = pathlib.Path(aimet_onnx.__file__).parent / "common/quantsim_config/default_config_per_channel.json"
    count = len(next(iter(parts[0].values())))
    batches = [{name: array[at : at + 1] for name, array in parts[0].items()} for at in range(count)]

    def sim_of(own, bits):
        return QuantizationSimModel(
            own, param_type=f"int{bits}", activation_type="int8", quant_scheme="min_max", config_file=str(config),
            providers=["CPUExecutionProvider"],
        )

    def adaround(sim):
        aimet_onnx.apply_adaround(sim, batches, num_iterations=arguments.iterations)

    def seq_mse(sim):
        aimet_onnx.apply_seq_mse(sim, batches)

    for bits in (8, 4):
        print(f"{path.name}, weights of {bits} bits per channel, activations of 8")
        ways = [("plain", False, None), ("equalization", True, None), ("sequential MSE", False, seq_mse), ("AdaRound", False, adaround)]
        for title, is_equalized, act in ways:
            own = copy.deepcopy(model)
            start = time.perf_counter()
            try:
                fold_all_batch_norms_to_weight(own)
                if is_equalized:
                    equalize_model(own)
                sim = sim_of(own, bits)
                if act:
                    act(sim)
                sim.compute_encodings(batches)
                show(f"AIMET {title}", sim.session, references, parts, time.perf_counter() - start)
            except Exception as error:
                print(f"  AIMET {title}: fails: {str(error).splitlines()[0][:120] if str(error) else type(error).__name__}", flush=True)
        common = f"--activation-type uint8 --weight-type int{bits} --per-channel --batch 1 --fresh"
        for flags in ("", "--equalize", "--weight-clip mse", "--bias-correction", "--rounding gptq", "--rounding descent",
                      "--equalize --rounding gptq --bias-correction"):
            session, seconds = with_qp(arguments, path, parts[0], f"{common} {flags}", folder)
            show(f"qp {flags or 'plain'}", session, references, parts, seconds)


def torchao(arguments, path, model, parts, references, folder):
    import torch
    from torchao.quantization import IntxWeightOnlyConfig, PerAxis, PerGroup, quantize_

    def rounded(weight, granularity, way):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight.data = torch.tensor(weight.copy())
        more = {"intx_choose_qparams_algorithm": way} if way else {}
        quantize_(layer, IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=granularity, **more))
        return layer.weight.dequantize().detach().numpy()

    for size in (16, 0):
        print(f"{path.name}, weights of matrix products alone, int4 {f'in groups of {size}' if size else 'per channel'}")
        for title, way in (("plain", None), ("HQQ", "hqq_scale_only")):
            own = copy.deepcopy(model)
            stored = {tensor.name: tensor for tensor in own.graph.initializer}
            start = time.perf_counter()
            for node in own.graph.node:
                tensor = stored.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
                if tensor is None or len(tensor.dims) != 2:
                    continue
                weight = numpy_helper.to_array(tensor)
                is_by_output = any(found.name == "transB" and found.i for found in node.attribute)
                weight = weight if is_by_output else weight.T
                if size and weight.shape[1] % size:
                    raise SystemExit(f"{node.name} has {weight.shape[1]} inputs: no multiple of {size}")
                weight = rounded(weight, PerGroup(size) if size else PerAxis(0), way)
                weight = weight if is_by_output else weight.T
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weight, dtype=np.float32), tensor.name))
            seconds = time.perf_counter() - start
            onnx.save(own, folder / "theirs.onnx")
            show(f"torchao {title}", opened(folder / "theirs.onnx"), references, parts, seconds)
        common = "--weight-only --weight-type int4 --quant-format qdq --op-types MatMul,Gemm"
        common += f" --block-size {size}" if size else " --block-size 0 --per-channel"
        for flags in ("", "--rounding gptq", "--rounding descent"):
            session, seconds = with_qp(arguments, path, parts[0], f"{common} {flags}", folder)
            show(f"qp {flags or 'plain'}", session, references, parts, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", choices=["aimet", "torchao"])
    parser.add_argument("--qp", default="target/release/qp")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("cases", nargs="+", metavar="MODEL SAMPLES")
    arguments = parser.parse_args()
    print(f"{'SQNR in dB, on samples of calibration, on others':46} {'first':>7} {'other':>7}")
    with tempfile.TemporaryDirectory() as scratch:
        for path, samples in zip(arguments.cases[::2], arguments.cases[1::2], strict=True):
            path, model = pathlib.Path(path), onnx.load(path)
            parts = halves(samples_of(model, samples))
            references = [run(opened(path), part) for part in parts]
            (aimet if arguments.other == "aimet" else torchao)(arguments, path, model, parts, references, pathlib.Path(scratch))


if __name__ == "__main__":
    main()
