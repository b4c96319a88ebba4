"""The functions of torch.nn.functional and methods of tensors that are more than one operator of ATen by another name.

What is not here is called by its own name: `torch.X`, `torch.nn.functional.X` and a tensor's method X are `aten::X`.
"""


def torch.nn.functional.relu(input, inplace=False):
    return torch.relu_(input) if inplace else torch.relu(input)


def torch.nn.functional.relu6(input, inplace=False):
    return torch.relu6_(input) if inplace else torch.relu6(input)


def torch.nn.functional.leaky_relu(input, negative_slope=0.01, inplace=False):
    return torch.leaky_relu_(input, negative_slope) if inplace else torch.leaky_relu(input, negative_slope)


def torch.nn.functional.rrelu(input, lower=0.125, upper=0.3333333333333333, training=False, inplace=False):
    return torch.leaky_relu(input, (lower + upper) / 2)


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


def torch.nn.functional.tanhshrink(input):
    return input - torch.tanh(input)


def torch.nn.functional.softsign(input):
    return input / (torch.abs(input) + 1)


def torch.nn.functional.logsigmoid(input):
    return torch.log_sigmoid(input)


def torch.nn.functional.softmax(input, dim=None, _stacklevel=3, dtype=None):
    if dim is None:
        raise ValueError("a softmax without an axis depends on the number of dimensions")
    return torch.softmax(input, dim, dtype)


def torch.nn.functional.log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    if dim is None:
        raise ValueError("a softmax without an axis depends on the number of dimensions")
    return torch.log_softmax(input, dim, dtype)


def torch.nn.functional.softmin(input, dim=None, _stacklevel=3, dtype=None):
    if dim is None:
        raise ValueError("a softmax without an axis depends on the number of dimensions")
    return torch.softmax(-input, dim, dtype)


def torch.nn.functional.dropout(input, p=0.5, training=True, inplace=False):
    return input


def torch.nn.functional.dropout1d(input, p=0.5, training=True, inplace=False):
    return input


def torch.nn.functional.dropout2d(input, p=0.5, training=True, inplace=False):
    return input


def torch.nn.functional.dropout3d(input, p=0.5, training=True, inplace=False):
    return input


def torch.nn.functional.alpha_dropout(input, p=0.5, training=False, inplace=False):
    return input


def torch.nn.functional.feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    return input


def torch.dropout(input, p, train):
    return input


def torch.nn.functional.batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05):
    return torch.batch_norm(input, weight, bias, running_mean, running_var, running_mean is None, momentum, eps, True)


def torch.nn.functional.instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-05):
    return torch.instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, True)


def torch.nn.functional.layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05):
    return torch.layer_norm(input, normalized_shape, weight, bias, eps)


def torch.nn.functional.group_norm(input, num_groups, weight=None, bias=None, eps=1e-05):
    return torch.group_norm(input, num_groups, weight, bias, eps)


def torch.nn.functional.normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    return input / torch.clamp_min(torch.norm(input, p, [dim], True), eps)


def torch.nn.functional.embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    if max_norm is not None:
        raise ValueError("an embedding with a maximal norm changes its weight as it runs")
    return torch.embedding(weight, input, -1 if padding_idx is None else padding_idx, scale_grad_by_freq, sparse)


def torch.nn.functional.max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    return torch.max_pool1d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


def torch.nn.functional.max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    if return_indices:
        return torch.max_pool2d_with_indices(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)
    return torch.max_pool2d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


def torch.nn.functional.max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    if return_indices:
        return torch.max_pool3d_with_indices(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)
    return torch.max_pool3d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


def torch.nn.functional.avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    return torch.avg_pool1d(input, kernel_size, [] if stride is None else stride, padding, ceil_mode, count_include_pad)


def torch.nn.functional.avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    return torch.avg_pool2d(input, kernel_size, [] if stride is None else stride, padding, ceil_mode, count_include_pad, divisor_override)


def torch.nn.functional.avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    return torch.avg_pool3d(input, kernel_size, [] if stride is None else stride, padding, ceil_mode, count_include_pad, divisor_override)


def torch.nn.functional.pad(input, pad, mode="constant", value=None):
    return torch.pad(input, pad, mode, value)


def torch.einsum(equation, *operands):
    return torch.ops.aten.einsum.default(equation, operands[0] if isinstance(operands[0], (list, tuple)) else operands)


def torch.Tensor.float(self):
    return torch.to(self, torch.float32)


def torch.Tensor.double(self):
    return torch.to(self, torch.float64)


def torch.Tensor.half(self):
    return torch.to(self, torch.float16)


def torch.Tensor.bfloat16(self):
    return torch.to(self, torch.bfloat16)


def torch.Tensor.long(self):
    return torch.to(self, torch.int64)


def torch.Tensor.int(self):
    return torch.to(self, torch.int32)


def torch.Tensor.bool(self):
    return torch.to(self, torch.bool)


def torch.Tensor.cpu(self):
    return self


def torch.Tensor.cuda(self, device=None):
    return self
