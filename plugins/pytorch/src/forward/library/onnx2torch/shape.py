"""The node converters of onnx2torch that move values about. Shapes and axes are tensors there, stored or computed."""


class onnx2torch.OnnxTranspose:
    perm = None

    def forward(self, input):
        return torch.numpy_T(input) if self.perm is None else torch.permute(input, self.perm)


def qp.of_both_ends(pads, mode):
    # ONNX has all beginnings first and the last axis last; PyTorch both ends of the last axis first.
    middle = len(pads) // 2
    ordered = []
    for at in reversed(range(middle)):
        ordered = ordered + [pads[at], pads[middle + at]]
    if mode == "constant":
        return ordered
    if any([size != 0 for size in ordered[-4:]]):
        raise ValueError("the batch and the channels cannot be padded by what is there")
    return ordered[:-4]


class onnx2torch.OnnxPadStatic:
    constant_value = 0.0

    def forward(self, input):
        return torch.pad(input, self.pads, self.mode, self.constant_value)


class onnx2torch.OnnxPadDynamic:
    def forward(self, input, pads, constant_value=0.0):
        value = qp.numbers(constant_value)[0] if isinstance(constant_value, torch.Tensor) else constant_value
        return torch.pad(input, qp.of_both_ends(qp.numbers(pads), self.mode), self.mode, value)


class onnx2torch.OnnxReshape:
    def forward(self, input, shape):
        if qp.is_known(shape):
            sizes = qp.ints(shape)
            return torch.reshape(input, [torch.size(input, at) if size == 0 else size for at, size in enumerate(sizes)])
        # A size of zero is that of the input.
        count = torch.size(shape, 0)
        own = torch.slice(torch.pad(torch.tensor(torch.size(input)), [0, count]), 0, 0, count, 1)
        return torch.reshape(input, qp.ints(torch.where(shape == 0, own, shape)))


class onnx2torch.OnnxExpand:
    def forward(self, input, shape):
        return input * torch.ones(qp.ints(shape), dtype=input.dtype)


class onnx2torch.OnnxTile:
    def forward(self, input, repeats):
        return torch.repeat(input, qp.ints(repeats))


class onnx2torch.OnnxFlatten:
    def forward(self, x):
        return torch.flatten(torch.flatten(x, 0, self.axis - 1), 1)


class onnx2torch.OnnxConcat:
    def forward(self, *inputs):
        return torch.cat(inputs, self.axis)


class onnx2torch.OnnxConstant:
    def forward(self):
        return self.value


class onnx2torch.OnnxConstantOfShape:
    def forward(self, shape):
        return torch.full(qp.ints(shape), qp.numbers(self.value)[0], dtype=self.value.dtype)


class onnx2torch.OnnxCast:
    def forward(self, input):
        return qp.cast(input, self.torch_dtype)


class onnx2torch.OnnxCopyIdentity:
    def forward(self, x):
        return torch.clone(x)


class onnx2torch.OnnxDepthToSpace:
    def forward(self, input):
        return torch.pixel_shuffle(input, self._upscale_factor)


class onnx2torch.OnnxDropoutDynamic:
    def forward(self, input, ratio=0.5, training_mode=None):
        return input


class onnx2torch.OnnxGatherElements:
    def forward(self, input, indices):
        return torch.gather(input, self._axis, torch.to(indices, torch.int64))


class onnx2torch.OnnxGather:
    def forward(self, input, indices):
        indices = torch.to(indices, torch.int64)
        axis = self._axis
        if axis >= 0:
            return torch.ops.aten.index(input, [None] * axis + [indices])
        sizes = torch.size(input)
        flat = torch.reshape(torch.where(indices < 0, indices + torch.size(input, axis), indices), [-1])
        shape = sizes[:axis] + torch.size(indices)
        shape = shape if axis == -1 else shape + sizes[axis + 1:]
        return torch.reshape(torch.index_select(input, axis, flat), shape)


def qp.columns(indices):
    # The last axis of indices as one tensor each.
    rows = torch.reshape(torch.to(indices, torch.int64), [-1, indices.shape[-1]])
    return [torch.select(rows, 1, at) for at in range(indices.shape[-1])]


class onnx2torch.OnnxGatherND:
    def forward(self, input, indices):
        if self._batch_dims != 0 or not qp.is_known(indices):
            raise ValueError("the number of indices has to be known, without batch axes")
        found = torch.ops.aten.index(input, qp.columns(indices))
        return torch.reshape(found, torch.size(indices)[:-1] + torch.size(input)[indices.shape[-1]:])


class onnx2torch.OnnxScatterND:
    def forward(self, data, indices, updates):
        if not qp.is_known(indices):
            raise ValueError("the number of indices has to be known")
        rest = torch.size(updates)[len(indices.shape) - 1:]
        return torch.ops.aten.index_put(data, qp.columns(indices), torch.reshape(updates, [-1] + rest))


class onnx2torch.OnnxGlobalAveragePool:
    def forward(self, input):
        means = torch.mean(torch.flatten(input, 2), [-1])
        return torch.reshape(means, torch.size(input)[:2] + [1] * (torch.dim(input) - 2))


class onnx2torch.OnnxGlobalAveragePoolWithKnownInputShape:
    def forward(self, input):
        return torch.mean(input, self._x_dims, True)


class onnx2torch.OnnxNonZero:
    def forward(self, input):
        return torch.nonzero(input)


class onnx2torch.OnnxRange:
    def forward(self, start, limit, delta):
        return torch.arange(qp.item(start), qp.item(limit), qp.item(delta))


def qp.item(value):
    return torch.item(value) if isinstance(value, torch.Tensor) else value


class onnx2torch.OnnxResize:
    ignore_roi = False

    def forward(self, input, roi=None, scales=None, sizes=None):
        if not self.ignore_roi and roi is not None and len(qp.numbers(roi)) > 0:
            raise ValueError("a region of interest is not known")
        factors = None if scales is None else qp.numbers(scales)[2:]
        size = None
        if sizes is not None and not (qp.is_known(sizes) and len(qp.numbers(sizes)) == 0):
            size = qp.ints(sizes)[2:]
        if size is None and (factors is None or len(factors) == 0):
            raise ValueError("neither scales nor sizes are given")
        if size is not None:
            factors = None
        rank = len(factors) if factors is not None else len(size) if qp.is_known(sizes) else qp.spatial_rank(input, None, None, "nearest")
        mode = "nearest" if self.onnx_mode == "nearest" else "bicubic" if self.onnx_mode == "cubic" else "linear" if rank == 1 else "bilinear" if rank == 2 else "trilinear"
        return torch.nn.functional.interpolate(input, size, factors, mode, self.align_corners)


class onnx2torch.OnnxResizeV10:
    def forward(self, input, scales):
        return self._resize(input, None, scales)


class onnx2torch.OnnxShape:
    def forward(self, input):
        return torch.tensor(torch.size(input)[self._start:self._end])


class onnx2torch.OnnxSlice:
    def forward(self, input, starts, ends, axes=None, steps=None):
        count = len(qp.numbers(starts)) if qp.is_known(starts) else len(qp.numbers(ends))
        axes = range(count) if axes is None else qp.numbers(axes)
        steps = [1] * count if steps is None else qp.numbers(steps)
        starts = qp.ints(starts)
        ends = qp.ints(ends)
        for at in range(count):
            if steps[at] < 0:
                input = torch.flip(input, [axes[at]])
                input = torch.slice(input, axes[at], -starts[at] - 1, -ends[at] - 1, -steps[at])
            else:
                input = torch.slice(input, axes[at], starts[at], ends[at], steps[at])
        return input


class onnx2torch.OnnxSplit13:
    def forward(self, input, split=None):
        sizes = torch.size(input, self.axis) // self.num_splits if split is None else qp.ints(split)
        return torch.split(input, sizes, self.axis)


class onnx2torch.OnnxSplit:
    split = None

    def forward(self, input):
        sizes = torch.size(input, self.axis) // self.num_splits if self.split is None else self.split
        return torch.split(input, sizes, self.axis)


class onnx2torch.OnnxSqueezeStaticAxes:
    axes = None

    def forward(self, input):
        if self.axes is None or len(self.axes) == 0:
            return torch.squeeze(input)
        return torch.ops.aten.squeeze.dims(input, self.axes)


class onnx2torch.OnnxSqueezeDynamicAxes:
    def forward(self, input, axes=None):
        numbers = [] if axes is None else qp.numbers(axes)
        return torch.squeeze(input) if len(numbers) == 0 else torch.ops.aten.squeeze.dims(input, numbers)


class onnx2torch.OnnxUnsqueezeStaticAxes:
    def forward(self, input):
        for axis in self._axes:
            input = torch.unsqueeze(input, axis)
        return input


class onnx2torch.OnnxUnsqueezeDynamicAxes:
    def forward(self, input, axes):
        for axis in sorted(qp.numbers(axes)):
            input = torch.unsqueeze(input, axis)
        return input


class onnx2torch.OnnxTopK:
    def forward(self, input, k):
        count = qp.ints(k)[0] if isinstance(k, torch.Tensor) else k
        found = torch.topk(input, count, self.dim, self.largest, self.sorted)
        return found[0], found[1]
