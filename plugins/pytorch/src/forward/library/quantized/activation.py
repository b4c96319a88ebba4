"""Quantized activations and normalizations of torch.ao.nn, and what turns values into codes and back."""


class torch.ao.nn.quantized.Quantize:
    def forward(self, input):
        return torch.quantize_per_tensor(input, self.scale, self.zero_point, self.dtype)


class torch.ao.nn.quantized.DeQuantize:
    def forward(self, input):
        return torch.dequantize(input)


class torch.ao.nn.quantized.ReLU6:
    inplace = False

    def forward(self, input):
        return torch.ops.quantized.relu6(input, self.inplace)


class torch.ao.nn.quantized.Hardswish:
    def forward(self, input):
        return torch.ops.quantized.hardswish(input, self.scale, self.zero_point)


class torch.ao.nn.quantized.ELU:
    def forward(self, input):
        return torch.ops.quantized.elu(input, self.scale, self.zero_point, self.alpha, 1, 1)


class torch.ao.nn.quantized.LeakyReLU:
    inplace = False

    def forward(self, input):
        return torch.ops.quantized.leaky_relu(input, self.negative_slope, self.inplace, self.scale, self.zero_point)


class torch.ao.nn.quantized.Sigmoid:
    def forward(self, input):
        return torch.ops.quantized.sigmoid(input, self.output_scale, self.output_zero_point)


class torch.ao.nn.quantized.Softmax:
    def forward(self, input):
        return torch.ops.quantized.softmax(input, qp.softmax_axis(input, self.dim), self.scale, self.zero_point)


class torch.ao.nn.quantized.PReLU:
    def forward(self, input):
        return torch.ops.quantized.prelu(input, self.weight, self.scale, self.zero_point)


class torch.ao.nn.quantized.Dropout:
    def forward(self, input):
        return input


class torch.ao.nn.quantized.BatchNorm2d:
    def forward(self, input):
        return torch.ops.quantized.batch_norm2d(input, self.weight, self.bias, self.running_mean, self.running_var, self.eps, self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.BNReLU2d(torch.ao.nn.quantized.BatchNorm2d):
    def forward(self, input):
        return torch.ops.quantized.batch_norm2d_relu(input, self.weight, self.bias, self.running_mean, self.running_var, self.eps, self.scale, self.zero_point)


class torch.ao.nn.quantized.BatchNorm3d:
    def forward(self, input):
        return torch.ops.quantized.batch_norm3d(input, self.weight, self.bias, self.running_mean, self.running_var, self.eps, self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.BNReLU3d(torch.ao.nn.quantized.BatchNorm3d):
    def forward(self, input):
        return torch.ops.quantized.batch_norm3d_relu(input, self.weight, self.bias, self.running_mean, self.running_var, self.eps, self.scale, self.zero_point)


class torch.ao.nn.quantized.LayerNorm:
    def forward(self, input):
        return torch.ops.quantized.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps, self.scale, self.zero_point)


class torch.ao.nn.quantized.GroupNorm:
    def forward(self, input):
        return torch.ops.quantized.group_norm(input, self.num_groups, self.weight, self.bias, self.eps, self.scale, self.zero_point)


class torch.ao.nn.quantized.InstanceNorm1d:
    def forward(self, input):
        return torch.ops.quantized.instance_norm(input, self.weight, self.bias, self.eps, self.scale, self.zero_point)


class torch.ao.nn.quantized.InstanceNorm2d:
    def forward(self, input):
        return torch.ops.quantized.instance_norm(input, self.weight, self.bias, self.eps, self.scale, self.zero_point)


class torch.ao.nn.quantized.InstanceNorm3d:
    def forward(self, input):
        return torch.ops.quantized.instance_norm(input, self.weight, self.bias, self.eps, self.scale, self.zero_point)


class torch.ao.nn.quantized.FXFloatFunctional:
    def add(self, x, y):
        return torch.add(x, y)

    def add_scalar(self, x, y):
        return torch.add(x, y)

    def mul(self, x, y):
        return torch.mul(x, y)

    def mul_scalar(self, x, y):
        return torch.mul(x, y)

    def cat(self, x, dim=0):
        return torch.cat(x, dim)

    def add_relu(self, x, y):
        return torch.relu(torch.add(x, y))

    def matmul(self, x, y):
        return torch.matmul(x, y)


class torch.ao.nn.quantized.FloatFunctional:
    def add(self, x, y):
        return self.activation_post_process(torch.add(x, y))

    def add_scalar(self, x, y):
        return torch.add(x, y)

    def mul(self, x, y):
        return self.activation_post_process(torch.mul(x, y))

    def mul_scalar(self, x, y):
        return torch.mul(x, y)

    def cat(self, x, dim=0):
        return self.activation_post_process(torch.cat(x, dim))

    def add_relu(self, x, y):
        return self.activation_post_process(torch.relu(torch.add(x, y)))

    def matmul(self, x, y):
        return self.activation_post_process(torch.matmul(x, y))


class torch.ao.nn.quantized.QFunctional:
    def add(self, x, y):
        return torch.ops.quantized.add(x, y, self.scale, self.zero_point)

    def add_scalar(self, x, y):
        return torch.ops.quantized.add_scalar(x, y)

    def mul(self, x, y):
        return torch.ops.quantized.mul(x, y, self.scale, self.zero_point)

    def mul_scalar(self, x, y):
        return torch.ops.quantized.mul_scalar(x, y)

    def cat(self, x, dim=0):
        return torch.ops.quantized.cat(x, dim, self.scale, self.zero_point)

    def add_relu(self, x, y):
        return torch.ops.quantized.add_relu(x, y, self.scale, self.zero_point)

    def matmul(self, x, y):
        return torch.ops.quantized.matmul(x, y, self.scale, self.zero_point)


def qp.packed_table(module):
    if module._packed_params.dtype == torch.quint4x2:
        raise ValueError("its table has codes of 4 bits, which are not run here")
    return torch.ops.quantized.embedding_bag_prepack(module.weight)


class torch.ao.nn.quantized.Embedding:
    def forward(self, indices):
        return torch.ops.quantized.embedding_byte(qp.packed_table(self), indices)


class torch.ao.nn.quantized.EmbeddingBag:
    include_last_offset = False
    pruned_weights = False

    def forward(self, indices, offsets=None, per_sample_weights=None, compressed_indices_mapping=None):
        return torch.ops.quantized.embedding_bag_byte(qp.packed_table(self), indices, offsets, False, 0, self.pruned_weights, per_sample_weights, compressed_indices_mapping, self.include_last_offset)
