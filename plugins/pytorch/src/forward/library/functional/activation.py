"""Activations of torch.nn.functional, in evaluation mode."""


def torch.nn.functional.relu(input, inplace=False):
    return torch.relu_(input) if inplace else torch.relu(input)


def torch.nn.functional.relu6(input, inplace=False):
    return torch.relu6_(input) if inplace else torch.relu6(input)


def torch.nn.functional.leaky_relu(input, negative_slope=0.01, inplace=False):
    return torch.leaky_relu_(input, negative_slope) if inplace else torch.leaky_relu(input, negative_slope)


def torch.nn.functional.rrelu(input, lower=0.125, upper=0.3333333333333333, training=False, inplace=False):
    if training:
        raise ValueError("it draws random slopes, as in training")
    slope = (lower + upper) / 2
    return torch.leaky_relu_(input, slope) if inplace else torch.leaky_relu(input, slope)


def torch.nn.functional.elu(input, alpha=1.0, inplace=False):
    return torch.elu_(input, alpha) if inplace else torch.elu(input, alpha)


def torch.nn.functional.selu(input, inplace=False):
    return torch.selu_(input) if inplace else torch.selu(input)


def torch.nn.functional.celu(input, alpha=1.0, inplace=False):
    return torch.celu_(input, alpha) if inplace else torch.celu(input, alpha)


def torch.nn.functional.silu(input, inplace=False):
    return torch.silu_(input) if inplace else torch.silu(input)


def torch.nn.functional.mish(input, inplace=False):
    return torch.mish_(input) if inplace else torch.mish(input)


def torch.nn.functional.hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    return torch.hardtanh_(input, min_val, max_val) if inplace else torch.hardtanh(input, min_val, max_val)


def torch.nn.functional.hardswish(input, inplace=False):
    return torch.hardswish_(input) if inplace else torch.hardswish(input)


def torch.nn.functional.hardsigmoid(input, inplace=False):
    return torch.hardsigmoid_(input) if inplace else torch.hardsigmoid(input)


def torch.nn.functional.threshold(input, threshold, value, inplace=False):
    return torch.threshold_(input, threshold, value) if inplace else torch.threshold(input, threshold, value)


def torch.nn.functional.glu(input, dim=-1):
    return torch.glu(input, dim)


def torch.nn.functional.hardshrink(input, lambd=0.5):
    return torch.hardshrink(input, lambd)


def torch.nn.functional.softshrink(input, lambd=0.5):
    return torch.softshrink(input, lambd)


def torch.nn.functional.softplus(input, beta=1.0, threshold=20.0):
    return torch.softplus(input, beta, threshold)


def torch.nn.functional.tanhshrink(input):
    return input - torch.tanh(input)


def torch.nn.functional.softsign(input):
    return input / (torch.abs(input) + 1)


def torch.nn.functional.logsigmoid(input):
    return torch.log_sigmoid(input)


def qp.softmax_axis(input, dim):
    # Without an axis, PyTorch takes the first one of tensors of 0, 1 and 3 dimensions, and the second one of others.
    if dim is not None:
        return dim
    rank = torch.dim(input)
    return 1 - int(rank == 0) - int(rank == 1) - int(rank == 3)


def torch.nn.functional.softmax(input, dim=None, _stacklevel=3, dtype=None):
    return torch.softmax(input, qp.softmax_axis(input, dim), dtype)


def torch.nn.functional.log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    return torch.log_softmax(input, qp.softmax_axis(input, dim), dtype)


def torch.nn.functional.softmin(input, dim=None, _stacklevel=3, dtype=None):
    return torch.softmax(-input, qp.softmax_axis(input, dim), dtype)


def torch.softmax(input, dim, dtype=None):
    return torch.ops.aten.softmax.int(input, dim, dtype)


def torch.log_softmax(input, dim, dtype=None):
    return torch.ops.aten.log_softmax.int(input, dim, dtype)


def torch.nn.functional.gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    raise ValueError("it draws random numbers")


def torch.nn.functional.dropout(input, p=0.5, training=True, inplace=False):
    return qp.dropped(input, p, training)


def torch.nn.functional.dropout1d(input, p=0.5, training=True, inplace=False):
    return qp.dropped(input, p, training)


def torch.nn.functional.dropout2d(input, p=0.5, training=True, inplace=False):
    return qp.dropped(input, p, training)


def torch.nn.functional.dropout3d(input, p=0.5, training=True, inplace=False):
    return qp.dropped(input, p, training)


def torch.nn.functional.alpha_dropout(input, p=0.5, training=False, inplace=False):
    return qp.dropped(input, p, training)


def torch.nn.functional.feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    return qp.dropped(input, p, training)


def torch.dropout(input, p, train):
    return qp.dropped(input, p, train)


def qp.dropped(input, p, training):
    # A graph keeps the mode in which it was traced.
    if training and p > 0:
        raise ValueError("it drops values at random: the graph was traced in training mode")
    return input
