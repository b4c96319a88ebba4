"""Makes wrapped.zip of this folder with PyTorch 2.13.0: modules that are wrapped, or whose weights hooks compute anew.

In the form of modules.zip: see make_modules.py.
"""

import io
import json
import pathlib
import warnings
import zipfile

import torch
from torch import nn
from torch.nn.utils import spectral_norm, weight_norm

warnings.filterwarnings("ignore")
torch.manual_seed(7)
cases, files, inputs = {}, {}, {}


def described(tensor):
    numbers = [float(f"{number:.9g}") for number in tensor.flatten().tolist()]
    return {"dtype": str(tensor.dtype)[6:], "shape": list(tensor.shape), "numbers": numbers}


def add(name, model, given, change=None):
    model.eval()
    with torch.no_grad():
        model(given)
        if change is not None:
            change(model)
    file = io.BytesIO()
    # What is saved is stale where `change` came after the last call; what is computed is not.
    torch.save(model, file)
    with torch.no_grad():
        output = model(given)
    inputs[name] = described(given)
    cases[name] = {"inputs": [name], "outputs": [described(output)], "engine": "fbgemm"}
    files[f"{name}.pt"] = file.getvalue()


def net():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def longer(model):
    model[0].weight_g.mul_(2)


def shorter(model):
    model[0].weight_orig.add_(0.5)


rows, image = torch.randn(2, 6), torch.randn(1, 3, 5, 5)
add("data_parallel", nn.DataParallel(net()), rows)
add("data_parallel_within", nn.Sequential(nn.DataParallel(nn.DataParallel(net())), nn.Tanh()), rows)
add("weight_norm", nn.Sequential(weight_norm(nn.Linear(6, 4)), nn.ReLU()), rows, longer)
add("weight_norm_whole", nn.Sequential(weight_norm(nn.Linear(6, 4), dim=None)), rows, longer)
add("weight_norm_conv", nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3), dim=1)), image, longer)
add("spectral_norm", nn.Sequential(spectral_norm(nn.Linear(6, 4))), rows, shorter)
add("spectral_norm_conv", nn.Sequential(spectral_norm(nn.Conv2d(3, 4, 3))), image, shorter)
add("spectral_norm_transposed", nn.Sequential(spectral_norm(nn.ConvTranspose2d(3, 4, 3))), image, shorter)

models = io.BytesIO()
with zipfile.ZipFile(models, "w") as archive:
    for name, content in files.items():
        archive.writestr(name, content)
with zipfile.ZipFile(pathlib.Path(__file__).with_name("wrapped.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("models.zip", models.getvalue())
    archive.writestr("cases.json", json.dumps({"inputs": inputs, "cases": cases}))
