"""The forward of the quantized modules of torch.ao.nn: weights are packed once, activations are codes."""


class torch.ao.nn.quantized.Conv2d:
    padding_mode = "zeros"

    def packed(self):
        padding = self.padding if self.padding_mode == "zeros" else [0, 0]
        return torch.ops.quantized.conv2d_prepack(self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def padded(self, input):
        if self.padding_mode == "zeros":
            return input
        return torch.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)

    def forward(self, input):
        return torch.ops.quantized.conv2d(self.padded(input), self.packed(), self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.ConvReLU2d(torch.ao.nn.quantized.Conv2d):
    def forward(self, input):
        return torch.ops.quantized.conv2d_relu(self.padded(input), self.packed(), self.scale, self.zero_point)


class torch.ao.nn.quantized.Linear:
    def packed(self):
        return torch.ops.quantized.linear_prepack(self.weight, self.bias)

    def forward(self, input):
        return torch.ops.quantized.linear(input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.intrinsic.quantized.LinearReLU(torch.ao.nn.quantized.Linear):
    def forward(self, input):
        return torch.ops.quantized.linear_relu(input, self.packed(), self.scale, self.zero_point)


class torch.ao.nn.quantized.Softmax:
    def forward(self, input):
        return torch.ops.quantized.softmax(input, self.dim, self.scale, self.zero_point)


class torch.ao.nn.intrinsic.ConvReLU2d(torch.nn.Sequential):
    pass
