"""Methods of tensors and functions of torch whose Python form is not that of an operator of ATen.

What is not here is called by its own name: `torch.X`, `torch.nn.functional.X` and a tensor's method X are `aten::X`.
"""


def qp.cast(input, dtype):
    return input if dtype is None else torch.ops.aten.to.dtype(input, dtype)


def torch.Tensor.to(self, *args, dtype=None, device=None, non_blocking=False, copy=False, memory_format=None):
    # A device changes nothing here: there is one.
    for argument in args:
        if isinstance(argument, torch.dtype):
            dtype = argument
        elif qp.is_dtype(argument):
            dtype = argument
        elif isinstance(argument, torch.Tensor):
            dtype = argument.dtype
    dtype = dtype.dtype if isinstance(dtype, torch.Tensor) and not qp.is_dtype(dtype) else dtype
    return qp.cast(self, dtype)


def torch.to(input, dtype):
    return qp.cast(input, dtype)


def torch.Tensor.type(self, dtype=None, non_blocking=False):
    if isinstance(dtype, str) or dtype is None:
        raise ValueError("the name of a type of tensors is not known")
    return qp.cast(self, dtype)


def torch.Tensor.cpu(self, memory_format=None):
    return self


def torch.Tensor.cuda(self, device=None, non_blocking=False, memory_format=None):
    return self


def torch.Tensor.requires_grad_(self, requires_grad=True):
    return self


def torch.Tensor.tolist(self):
    return qp.numbers(self)


def torch.Tensor.float(self, memory_format=None):
    return qp.cast(self, torch.float32)


def torch.Tensor.double(self, memory_format=None):
    return qp.cast(self, torch.float64)


def torch.Tensor.half(self, memory_format=None):
    return qp.cast(self, torch.float16)


def torch.Tensor.bfloat16(self, memory_format=None):
    return qp.cast(self, torch.bfloat16)


def torch.Tensor.long(self, memory_format=None):
    return qp.cast(self, torch.int64)


def torch.Tensor.int(self, memory_format=None):
    return qp.cast(self, torch.int32)


def torch.Tensor.short(self, memory_format=None):
    return qp.cast(self, torch.int16)


def torch.Tensor.char(self, memory_format=None):
    return qp.cast(self, torch.int8)


def torch.Tensor.byte(self, memory_format=None):
    return qp.cast(self, torch.uint8)


def torch.Tensor.bool(self, memory_format=None):
    return qp.cast(self, torch.bool)


def torch.split(tensor, split_size_or_sections, dim=0):
    if qp.is_list(split_size_or_sections):
        return torch.ops.aten.split_with_sizes(tensor, split_size_or_sections, dim)
    return torch.ops.aten.split.Tensor(tensor, split_size_or_sections, dim)


def torch.functional.split(tensor, split_size_or_sections, dim=0):
    return torch.split(tensor, split_size_or_sections, dim)


def torch.Tensor.split(self, split_size, dim=0):
    return torch.split(self, split_size, dim)


def torch.einsum(equation, *operands):
    return torch.ops.aten.einsum(equation, operands[0] if isinstance(operands[0], (list, tuple)) else operands)


def torch.functional.einsum(equation, *operands):
    return torch.einsum(equation, *operands)


def torch.meshgrid(*tensors, indexing="ij"):
    return torch.ops.aten.meshgrid.indexing(tensors[0] if isinstance(tensors[0], (list, tuple)) else tensors, indexing=indexing)


def torch.functional.meshgrid(*tensors, indexing="ij"):
    return torch.meshgrid(*tensors, indexing=indexing)


def torch.broadcast_tensors(*tensors):
    return torch.ops.aten.broadcast_tensors(tensors[0] if isinstance(tensors[0], (list, tuple)) else tensors)


def torch.functional.broadcast_tensors(*tensors):
    return torch.broadcast_tensors(*tensors)


def torch.cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    mode = None if compute_mode == "use_mm_for_euclid_dist_if_necessary" else 1 if compute_mode == "use_mm_for_euclid_dist" else 2
    return torch.ops.aten.cdist(x1, x2, float(p), mode)


def torch.functional.cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    return torch.cdist(x1, x2, p, compute_mode)


def torch.tensor(data, dtype=None, device=None, requires_grad=False, pin_memory=False):
    return torch.ops.aten.tensor(data, dtype=dtype)


def torch.as_tensor(data, dtype=None, device=None):
    return qp.cast(data, dtype) if isinstance(data, torch.Tensor) and not qp.is_list(data) else torch.tensor(data, dtype)


def torch.Tensor.new_tensor(self, data, dtype=None, device=None, requires_grad=False):
    return torch.tensor(data, self.dtype if dtype is None else dtype)


def torch.numel(input):
    return torch.ops.aten.numel(input)


def torch.Tensor.nelement(self):
    return torch.ops.aten.numel(self)


def torch.Tensor.ndimension(self):
    return torch.ops.aten.dim(self)


def torch.Tensor.type_as(self, other):
    return torch.ops.aten.type_as(self, other)


def torch.var_mean(input, dim=None, unbiased=True, keepdim=False, correction=None):
    degrees = correction if correction is not None else 1 if unbiased else 0
    return torch.ops.aten.var_mean.correction(input, qp.axes(dim), correction=degrees, keepdim=keepdim)


def qp.axes(dim):
    return dim if dim is None or isinstance(dim, (list, tuple)) else [dim]


def torch.quantize_per_tensor(input, scale, zero_point, dtype):
    return torch.ops.aten.quantize_per_tensor(input, scale, zero_point, dtype)


def torch.rand(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.randn(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.randint(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.randperm(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.rand_like(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.randn_like(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.randint_like(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.bernoulli(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.multinomial(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.normal(*args, dtype=None, device=None, layout=None, requires_grad=False, generator=None, memory_format=None, size=None, pin_memory=False, low=None, high=None):
    raise ValueError("it draws random numbers")


def torch.Tensor.bernoulli(self, *args, generator=None):
    raise ValueError("it draws random numbers")


def torch.Tensor.bernoulli_(self, *args, generator=None):
    raise ValueError("it draws random numbers")


def torch.Tensor.normal_(self, *args, generator=None):
    raise ValueError("it draws random numbers")


def torch.Tensor.uniform_(self, *args, generator=None):
    raise ValueError("it draws random numbers")


def torch.Tensor.random_(self, *args, generator=None):
    raise ValueError("it draws random numbers")


def torch.Tensor.multinomial(self, *args, generator=None):
    raise ValueError("it draws random numbers")
