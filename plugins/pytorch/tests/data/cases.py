"""What the makers of archives of programs share: a case is a program, what it is given and what PyTorch computes of it."""

import io
import json
import pathlib
import zipfile

import torch

HERE = pathlib.Path(__file__).parent


def described(tensor):
    """A tensor as JSON: numbers that JSON lacks are texts."""
    if not isinstance(tensor, torch.Tensor):
        tensor = torch.tensor(tensor)
    numbers = tensor.detach().double().flatten().tolist()
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "numbers": [number if abs(number) != float("inf") else str(number) for number in numbers],
    }


def stripped(value):
    """JSON without stack traces and the like, which hold the paths of this machine."""
    if isinstance(value, list):
        return [stripped(element) for element in value]
    if not isinstance(value, dict):
        return value
    kept = {key: stripped(entry) for key, entry in value.items()}
    if "target" in kept and "metadata" in kept:
        kept["metadata"] = {"nn_module_stack": kept["metadata"].get("nn_module_stack", "")}
    return kept


def plain(content):
    """A program without what names this machine, and without example inputs."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, entry in entries:
            if "sample_inputs" in name or "example_inputs" in name:
                continue
            if name.endswith(("models/model.json", "serialized_exported_program.json")):
                entry = json.dumps(stripped(json.loads(entry))).encode()
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), entry)
    return out.getvalue()


def case(name, model, example, given=None, dynamic_shapes=None):
    """The files of a case, by name."""
    given = given or example
    options = {} if dynamic_shapes is None else {"dynamic_shapes": dynamic_shapes}
    program = torch.export.export(model, example, **options)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    with torch.no_grad():
        outputs = model(*[value.clone() if isinstance(value, torch.Tensor) else value for value in given])
    leaves = torch.utils._pytree.tree_leaves(outputs)
    values = {"inputs": [described(value) for value in given], "outputs": [described(value) for value in leaves]}
    print(name, [list(leaf.shape) for leaf in leaves if isinstance(leaf, torch.Tensor)])
    return {f"{name}.pt2": plain(buffer.getvalue()), f"{name}.json": json.dumps(values).encode()}


def write(file, made, is_kept=False):
    """Writes an archive of cases; with `is_kept`, those of other names in it stay as they are."""
    path = HERE / file
    if is_kept and path.exists():
        with zipfile.ZipFile(path) as archive:
            made = {**{name: archive.read(name) for name in archive.namelist()}, **made}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(made.items()):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED, 9)
