"""Makes dtensor.pt of this folder with PyTorch 2.13.0: a state dict with a weight that is distributed over one process."""

import os
import pathlib

import torch
import torch.distributed as dist
from torch.distributed.tensor import DeviceMesh, Shard, distribute_tensor

os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29533", RANK="0", WORLD_SIZE="1")
dist.init_process_group("gloo")
weight = distribute_tensor(torch.arange(8.0).reshape(2, 4), DeviceMesh("cpu", [0]), [Shard(0)])
torch.save({"fc.weight": weight, "fc.bias": torch.ones(2)}, pathlib.Path(__file__).with_name("dtensor.pt"))
dist.destroy_process_group()
