"""Quantized convolutions and matrix products of torch.ao.nn: weights are packed once, activations are codes."""


class torch.ao.nn.quantized.Conv1d:
    padding_mode = "zeros"

    def packed(self):
        padding = self.padding if self.padding_mode == "zeros" else [0]
        return torch.ops.quantized.conv1d_prepack(self.weight, self.bias, qp.repeated(self.stride, 1), qp.repeated(padding, 1), qp.repeated(self.dilation, 1), self.groups)

    def padded(self, input):
        if self.padding_mode == "zeros":
            return input
        return torch.pad(input, qp.both_ends(qp.repeated(self.padding, 1)), self.padding_mode)

    def forward(self, input):
        return torch.ops.quantized.conv1d(self.padded(input), self.packed(), self.scale, self.zero_point)


class torch.ao.nn.quantized.Conv2d:
    padding_mode = "zeros"

    def packed(self):
        padding = self.padding if self.padding_mode == "zeros" else [0, 0]
        return torch.ops.quantized.conv2d_prepack(self.weight, self.bias, qp.repeated(self.stride, 2), qp.repeated(padding, 2), qp.repeated(self.dilation, 2), self.groups)

    def padded(self, input):
        if self.padding_mode == "zeros":
            return input
        return torch.pad(input, qp.both_ends(qp.repeated(self.padding, 2)), self.padding_mode)

    def forward(self, input):
        return torch.ops.quantized.conv2d(self.padded(input), self.packed(), self.scale, self.zero_point)


class torch.ao.nn.quantized.Conv3d:
    padding_mode = "zeros"

    def packed(self):
        padding = self.padding if self.padding_mode == "zeros" else [0, 0, 0]
        return torch.ops.quantized.conv3d_prepack(self.weight, self.bias, qp.repeated(self.stride, 3), qp.repeated(padding, 3), qp.repeated(self.dilation, 3), self.groups)

    def padded(self, input):
        if self.padding_mode == "zeros":
            return input
        return torch.pad(input, qp.both_ends(qp.repeated(self.padding, 3)), self.padding_mode)

    def forward(self, input):
        return torch.ops.quantized.conv3d(self.padded(input), self.packed(), self.scale, self.zero_point)


def qp.both_ends(padding):
    # The last axis comes first, each with its two ends.
    pairs = []
    for size in reversed(padding):
        pairs = pairs + [size, size]
    return pairs


class torch.ao.nn.quantized.ConvTranspose1d:
    def packed(self):
        return torch.ops.quantized.conv_transpose1d_prepack(self.weight, self.bias, self.stride, self.padding, self.output_padding, self.dilation, self.groups)

    def forward(self, input):
        return torch.ops.quantized.conv_transpose1d(input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.quantized.ConvTranspose2d:
    def packed(self):
        return torch.ops.quantized.conv_transpose2d_prepack(self.weight, self.bias, self.stride, self.padding, self.output_padding, self.dilation, self.groups)

    def forward(self, input):
        return torch.ops.quantized.conv_transpose2d(input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.quantized.ConvTranspose3d:
    def packed(self):
        return torch.ops.quantized.conv_transpose3d_prepack(self.weight, self.bias, self.stride, self.padding, self.output_padding, self.dilation, self.groups)

    def forward(self, input):
        return torch.ops.quantized.conv_transpose3d(input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.ConvReLU1d(torch.ao.nn.quantized.Conv1d):
    def forward(self, input):
        return torch.ops.quantized.conv1d_relu(self.padded(input), self.packed(), self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.ConvReLU2d(torch.ao.nn.quantized.Conv2d):
    def forward(self, input):
        return torch.ops.quantized.conv2d_relu(self.padded(input), self.packed(), self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.ConvReLU3d(torch.ao.nn.quantized.Conv3d):
    def forward(self, input):
        return torch.ops.quantized.conv3d_relu(self.padded(input), self.packed(), self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.ConvAdd2d(torch.ao.nn.quantized.Conv2d):
    def forward(self, input, extra_input):
        return torch.ops.quantized.conv2d_add(self.padded(input), extra_input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.ConvAddReLU2d(torch.ao.nn.quantized.Conv2d):
    def forward(self, input, extra_input):
        return torch.ops.quantized.conv2d_add_relu(self.padded(input), extra_input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.quantized.Linear:
    def packed(self):
        return torch.ops.quantized.linear_prepack(self.weight, self.bias)

    def forward(self, input):
        return torch.ops.quantized.linear(input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.LinearReLU(torch.ao.nn.quantized.Linear):
    def forward(self, input):
        return torch.ops.quantized.linear_relu(input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.LinearLeakyReLU(torch.ao.nn.quantized.Linear):
    def forward(self, input):
        return torch.ops.quantized.linear_leaky_relu(input, self.packed(), self.scale, self.zero_point, self.negative_slope)


class torch.ao.nn.intrinsic.quantized.LinearTanh(torch.ao.nn.quantized.Linear):
    def forward(self, input):
        return torch.ops.quantized.linear_tanh(input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.quantized.dynamic.Linear:
    def packed(self):
        return torch.ops.quantized.linear_prepack(self.weight, self.bias)

    def check(self):
        if self.weight.dtype != torch.qint8:
            raise ValueError("its weights are no int8 codes")

    def forward(self, input):
        self.check()
        return torch.ops.quantized.linear_dynamic(input, self.packed(), True)


class torch.ao.nn.intrinsic.quantized.dynamic.LinearReLU(torch.ao.nn.quantized.dynamic.Linear):
    def forward(self, input):
        self.check()
        return torch.ops.quantized.linear_relu_dynamic(input, self.packed(), True)


class torch.ao.nn.quantized.dynamic.Conv1d(torch.ao.nn.quantized.Conv1d):
    def forward(self, input, reduce_range=True):
        return torch.ops.quantized.conv1d_dynamic(self.padded(input), self.packed(), reduce_range)


class torch.ao.nn.quantized.dynamic.ConvTranspose1d(torch.ao.nn.quantized.ConvTranspose1d):
    def forward(self, input, reduce_range=True):
        return torch.ops.quantized.conv_transpose1d_dynamic(input, self.packed(), reduce_range)


class torch.ao.nn.quantized.dynamic.Conv2d(torch.ao.nn.quantized.Conv2d):
    def forward(self, input, reduce_range=True):
        return torch.ops.quantized.conv2d_dynamic(self.padded(input), self.packed(), reduce_range)


class torch.ao.nn.quantized.dynamic.ConvTranspose2d(torch.ao.nn.quantized.ConvTranspose2d):
    def forward(self, input, reduce_range=True):
        return torch.ops.quantized.conv_transpose2d_dynamic(input, self.packed(), reduce_range)


class torch.ao.nn.quantized.dynamic.Conv3d(torch.ao.nn.quantized.Conv3d):
    def forward(self, input, reduce_range=True):
        return torch.ops.quantized.conv3d_dynamic(self.padded(input), self.packed(), reduce_range)


class torch.ao.nn.quantized.dynamic.ConvTranspose3d(torch.ao.nn.quantized.ConvTranspose3d):
    def forward(self, input, reduce_range=True):
        return torch.ops.quantized.conv_transpose3d_dynamic(input, self.packed(), reduce_range)
