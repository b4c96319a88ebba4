"""Pooling of torch.nn.functional."""


def torch.nn.functional.max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    if return_indices:
        return torch.max_pool1d_with_indices(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)
    return torch.max_pool1d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


def torch.nn.functional.max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    if return_indices:
        return torch.max_pool2d_with_indices(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)
    return torch.max_pool2d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


def torch.nn.functional.max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    if return_indices:
        return torch.max_pool3d_with_indices(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)
    return torch.max_pool3d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


def torch.nn.functional.max_pool1d_with_indices(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    return torch.max_pool1d_with_indices(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


def torch.nn.functional.max_pool2d_with_indices(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    return torch.max_pool2d_with_indices(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


def torch.nn.functional.max_pool3d_with_indices(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    return torch.max_pool3d_with_indices(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)




def torch.nn.functional.avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    return torch.avg_pool1d(input, kernel_size, [] if stride is None else stride, padding, ceil_mode, count_include_pad)


def torch.nn.functional.avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    return torch.avg_pool2d(input, kernel_size, [] if stride is None else stride, padding, ceil_mode, count_include_pad, divisor_override)


def torch.nn.functional.avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    return torch.avg_pool3d(input, kernel_size, [] if stride is None else stride, padding, ceil_mode, count_include_pad, divisor_override)


# The same functions under the names by which their module has them.
def torch._C._nn.avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    return torch.nn.functional.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def torch._C._nn.avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    return torch.nn.functional.avg_pool3d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def torch.avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    return torch.ops.aten.avg_pool1d(input, kernel_size, [] if stride is None else stride, padding, ceil_mode, count_include_pad)


def qp.pooled_size(input, output_size, count):
    # A size that is left open is that of the input.
    sizes = output_size if isinstance(output_size, (list, tuple)) else [output_size] * count
    if len(sizes) != count:
        raise ValueError("an output size has another number of axes than the pooling")
    return [torch.size(input, at - count) if size is None else size for at, size in enumerate(sizes)]


def torch.nn.functional.adaptive_avg_pool1d(input, output_size):
    return torch.adaptive_avg_pool1d(input, qp.pooled_size(input, output_size, 1))


def torch.nn.functional.adaptive_avg_pool2d(input, output_size):
    return torch.adaptive_avg_pool2d(input, qp.pooled_size(input, output_size, 2))


def torch.nn.functional.adaptive_avg_pool3d(input, output_size):
    return torch.adaptive_avg_pool3d(input, qp.pooled_size(input, output_size, 3))


def torch.nn.functional.adaptive_max_pool1d(input, output_size, return_indices=False):
    both = torch.adaptive_max_pool1d(input, qp.pooled_size(input, output_size, 1))
    return both if return_indices else both[0]


def torch.nn.functional.adaptive_max_pool2d(input, output_size, return_indices=False):
    both = torch.adaptive_max_pool2d(input, qp.pooled_size(input, output_size, 2))
    return both if return_indices else both[0]


def torch.nn.functional.adaptive_max_pool3d(input, output_size, return_indices=False):
    both = torch.adaptive_max_pool3d(input, qp.pooled_size(input, output_size, 3))
    return both if return_indices else both[0]


def torch.nn.functional.fractional_max_pool2d(input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
    if _random_samples is None:
        raise ValueError("it draws random numbers")
    if output_size is None:
        ratio = output_ratio if isinstance(output_ratio, (list, tuple)) else [output_ratio] * 2
        output_size = [int(torch.size(input, at - 2) * ratio[at]) for at in range(2)]
    both = torch.fractional_max_pool2d(input, kernel_size, output_size, _random_samples)
    return both if return_indices else both[0]


def torch.nn.functional.fractional_max_pool3d(input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
    if _random_samples is None:
        raise ValueError("it draws random numbers")
    if output_size is None:
        ratio = output_ratio if isinstance(output_ratio, (list, tuple)) else [output_ratio] * 3
        output_size = [int(torch.size(input, at - 3) * ratio[at]) for at in range(3)]
    both = torch.fractional_max_pool3d(input, kernel_size, output_size, _random_samples)
    return both if return_indices else both[0]


def qp.repeated(value, count):
    return value if isinstance(value, (list, tuple)) else [value] * count


def qp.power_averaged(averaged, norm_type, kernel_size, count):
    # The sum of the powers is their mean, which has its sign, times the size of the window.
    window = 1
    for size in qp.repeated(kernel_size, count):
        window = window * size
    return torch.pow(torch.mul(torch.sign(averaged) * torch.relu(torch.abs(averaged)), window), 1.0 / norm_type)


def torch.nn.functional.lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    averaged = torch.avg_pool1d(torch.pow(input, norm_type), kernel_size, stride, 0, ceil_mode)
    return qp.power_averaged(averaged, norm_type, kernel_size, 1)


def torch.nn.functional.lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    averaged = torch.nn.functional.avg_pool2d(torch.pow(input, norm_type), kernel_size, stride, 0, ceil_mode)
    return qp.power_averaged(averaged, norm_type, kernel_size, 2)


def torch.nn.functional.lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    averaged = torch.nn.functional.avg_pool3d(torch.pow(input, norm_type), kernel_size, stride, 0, ceil_mode)
    return qp.power_averaged(averaged, norm_type, kernel_size, 3)


def qp.unpooled_size(input, kernel_size, stride, padding, output_size, count):
    if output_size is not None:
        return output_size[-count:]
    kernel = qp.repeated(kernel_size, count)
    stride = kernel if stride is None else qp.repeated(stride, count)
    padding = qp.repeated(padding, count)
    return [(torch.size(input, at - count) - 1) * stride[at] + kernel[at] - 2 * padding[at] for at in range(count)]


def torch.nn.functional.max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    sizes = qp.unpooled_size(input, kernel_size, stride, padding, output_size, 1)
    return torch.squeeze(torch.max_unpool2d(torch.unsqueeze(input, -1), torch.unsqueeze(indices, -1), [sizes[0], 1]), -1)


def torch.nn.functional.max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    return torch.max_unpool2d(input, indices, qp.unpooled_size(input, kernel_size, stride, padding, output_size, 2))


def torch.nn.functional.max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    sizes = qp.unpooled_size(input, kernel_size, stride, padding, output_size, 3)
    strides = qp.repeated(kernel_size if stride is None else stride, 3)
    return torch.max_unpool3d(input, indices, sizes, strides, qp.repeated(padding, 3))
