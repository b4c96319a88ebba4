"""Changes of the size of pictures and signals of torch.nn.functional."""


def torch.nn.functional.pad(input, pad, mode="constant", value=None):
    return torch.pad(input, pad, mode, value)


def qp.spatial_rank(input, size, scale_factor, mode):
    if mode == "linear":
        return 1
    if mode == "bilinear" or mode == "bicubic":
        return 2
    if mode == "trilinear":
        return 3
    # The rank that the code suggests; libtorch refuses a tensor of another one.
    if isinstance(scale_factor, (list, tuple)):
        return len(scale_factor)
    if isinstance(size, (list, tuple)):
        return len(size)
    rank = qp.rank(input)
    return 2 if rank is None else rank - 2


def torch.nn.functional.interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False):
    rank = qp.spatial_rank(input, size, scale_factor, mode)
    if scale_factor is not None:
        factors = [float(factor) for factor in qp.repeated(scale_factor, rank)]
        if recompute_scale_factor or mode == "area":
            size = [int(math.floor(float(torch.size(input, at + 2)) * factors[at])) for at in range(rank)]
            factors = None
    else:
        factors = None
        size = size if qp.is_list(size) else [size] * rank
    if factors is not None:
        size = None
    if mode == "area":
        return qp.operator("aten::adaptive_avg_pool" + str(rank) + "d", input, size)
    if mode == "nearest":
        return qp.operator("aten::upsample_nearest" + str(rank) + "d.vec", input, size, factors)
    if mode == "nearest-exact":
        return qp.operator("aten::_upsample_nearest_exact" + str(rank) + "d.vec", input, size, factors)
    corners = False if align_corners is None else align_corners
    if antialias:
        return qp.operator("aten::_upsample_" + mode + "2d_aa.vec", input, size, corners, factors)
    return qp.operator("aten::upsample_" + mode + str(rank) + "d.vec", input, size, corners, factors)


def torch.nn.functional.upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    return torch.nn.functional.interpolate(input, size, scale_factor, mode, align_corners)


def torch.nn.functional.upsample_nearest(input, size=None, scale_factor=None):
    return torch.nn.functional.interpolate(input, size, scale_factor)


def torch.nn.functional.upsample_bilinear(input, size=None, scale_factor=None):
    return torch.nn.functional.interpolate(input, size, scale_factor, "bilinear", True)


def qp.grid_mode(mode):
    return 0 if mode == "bilinear" else 1 if mode == "nearest" else 2


def qp.grid_padding(mode):
    return 0 if mode == "zeros" else 1 if mode == "border" else 2


def torch.nn.functional.grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    return torch.grid_sampler(input, grid, qp.grid_mode(mode), qp.grid_padding(padding_mode), False if align_corners is None else align_corners)


def torch.nn.functional.affine_grid(theta, size, align_corners=None):
    return torch.affine_grid_generator(theta, size, False if align_corners is None else align_corners)


def torch.nn.functional.unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    return torch.im2col(input, qp.repeated(kernel_size, 2), qp.repeated(dilation, 2), qp.repeated(padding, 2), qp.repeated(stride, 2))


def torch.nn.functional.fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    return torch.col2im(input, qp.repeated(output_size, 2), qp.repeated(kernel_size, 2), qp.repeated(dilation, 2), qp.repeated(padding, 2), qp.repeated(stride, 2))
