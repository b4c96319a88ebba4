"""Normalizations of torch.nn.functional, in evaluation mode."""


def torch.nn.functional.batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05):
    return torch.batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, True)


def torch.nn.functional.instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-05):
    return torch.instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, True)


def torch.nn.functional.layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05):
    return torch.layer_norm(input, normalized_shape, weight, bias, eps)


def torch.nn.functional.rms_norm(input, normalized_shape, weight=None, eps=None):
    return torch.rms_norm(input, normalized_shape, weight, eps)


def torch.nn.functional.group_norm(input, num_groups, weight=None, bias=None, eps=1e-05):
    return torch.group_norm(input, num_groups, weight, bias, eps)


def torch.nn.functional.local_response_norm(input, size, alpha=0.0001, beta=0.75, k=1.0):
    # A window over the channels, whatever the axes behind them are.
    squares = torch.unsqueeze(torch.flatten(torch.mul(input, input), 2), 1)
    squares = torch.pad(squares, [0, 0, size // 2, (size - 1) // 2])
    means = torch.squeeze(torch.nn.functional.avg_pool2d(squares, [size, 1], 1), 1)
    return input / torch.pow(torch.add(torch.mul(torch.reshape(means, torch.size(input)), alpha), k), beta)


def torch.nn.functional.normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    return input / torch.clamp_min(torch.norm(input, p, dim, True), eps)


def torch.norm(input, p="fro", dim=None, keepdim=False, out=None, dtype=None):
    if p == "nuc":
        raise ValueError("the nuclear norm is not known")
    order = 2.0 if p == "fro" or p is None else p
    if dim is None:
        axes = []
    else:
        axes = dim if isinstance(dim, (list, tuple)) else [dim]
    if dtype is None:
        return torch.ops.aten.norm.ScalarOpt_dim(input, order, axes, keepdim)
    return torch.ops.aten.norm.ScalarOpt_dim_dtype(input, order, axes, keepdim, dtype=dtype)


def torch.functional.norm(input, p="fro", dim=None, keepdim=False, out=None, dtype=None):
    return torch.norm(input, p, dim, keepdim, out, dtype)


def torch.Tensor.norm(self, p="fro", dim=None, keepdim=False, dtype=None):
    return torch.norm(self, p, dim, keepdim, None, dtype)
