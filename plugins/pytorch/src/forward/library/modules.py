"""The forward of the modules of torch.nn, in evaluation mode."""


class torch.nn.Sequential:
    is_container = True

    def forward(self, input):
        for module in self:
            input = module(input)
        return input


class torch.nn.Identity:
    def forward(self, input):
        return input


class torch.nn.Flatten:
    def forward(self, input):
        return torch.flatten(input, self.start_dim, self.end_dim)


class torch.nn.Unflatten:
    def forward(self, input):
        return torch.unflatten(input, self.dim, self.unflattened_size)


class torch.nn.Linear:
    bias = None

    def forward(self, input):
        return torch.linear(input, self.weight, self.bias)


class torch.nn.Bilinear:
    def forward(self, input1, input2):
        return torch.bilinear(input1, input2, self.weight, self.bias)


class torch.nn.Conv1d:
    padding_mode = "zeros"

    def forward(self, input):
        if self.padding_mode != "zeros":
            input = torch.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
            return torch.conv1d(input, self.weight, self.bias, self.stride, [0], self.dilation, self.groups)
        return torch.conv1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class torch.nn.Conv2d:
    padding_mode = "zeros"

    def forward(self, input):
        if self.padding_mode != "zeros":
            input = torch.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
            return torch.conv2d(input, self.weight, self.bias, self.stride, [0, 0], self.dilation, self.groups)
        return torch.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class torch.nn.Conv3d:
    padding_mode = "zeros"

    def forward(self, input):
        if self.padding_mode != "zeros":
            input = torch.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
            return torch.conv3d(input, self.weight, self.bias, self.stride, [0, 0, 0], self.dilation, self.groups)
        return torch.conv3d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class torch.nn.ConvTranspose1d:
    def forward(self, input):
        return torch.conv_transpose1d(input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)


class torch.nn.ConvTranspose2d:
    def forward(self, input):
        return torch.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)


class torch.nn.ConvTranspose3d:
    def forward(self, input):
        return torch.conv_transpose3d(input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)


class torch.nn.BatchNorm1d:
    def forward(self, input):
        # Without running statistics, those of the batch are used.
        return torch.batch_norm(input, self.weight, self.bias, self.running_mean, self.running_var, self.running_mean is None, 0.0 if self.momentum is None else self.momentum, self.eps, True)


class torch.nn.BatchNorm2d(torch.nn.BatchNorm1d):
    pass


class torch.nn.BatchNorm3d(torch.nn.BatchNorm1d):
    pass


class torch.nn.SyncBatchNorm(torch.nn.BatchNorm1d):
    pass


class torch.nn.InstanceNorm1d:
    def forward(self, input):
        return torch.instance_norm(input, self.weight, self.bias, self.running_mean, self.running_var, not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps, True)


class torch.nn.InstanceNorm2d(torch.nn.InstanceNorm1d):
    pass


class torch.nn.InstanceNorm3d(torch.nn.InstanceNorm1d):
    pass


class torch.nn.LayerNorm:
    def forward(self, input):
        return torch.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class torch.nn.RMSNorm:
    def forward(self, input):
        return torch.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class torch.nn.GroupNorm:
    def forward(self, input):
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class torch.nn.ReLU:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.relu(input, self.inplace)


class torch.nn.ReLU6:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.relu6(input, self.inplace)


class torch.nn.LeakyReLU:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.leaky_relu(input, self.negative_slope, self.inplace)


class torch.nn.Sigmoid:
    def forward(self, input):
        return torch.sigmoid(input)


class torch.nn.Tanh:
    def forward(self, input):
        return torch.tanh(input)


class torch.nn.GELU:
    approximate = "none"

    def forward(self, input):
        return torch.gelu(input, approximate=self.approximate)


class torch.nn.Softmax:
    def forward(self, input):
        return torch.nn.functional.softmax(input, self.dim)


class torch.nn.LogSoftmax:
    def forward(self, input):
        return torch.nn.functional.log_softmax(input, self.dim)


class torch.nn.Dropout:
    def forward(self, input):
        return input


class torch.nn.MaxPool2d:
    return_indices = False

    def forward(self, input):
        return torch.nn.functional.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class torch.nn.AvgPool2d:
    divisor_override = None

    def forward(self, input):
        return torch.avg_pool2d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override)


class torch.nn.AdaptiveAvgPool2d:
    def forward(self, input):
        return torch.adaptive_avg_pool2d(input, self.output_size if isinstance(self.output_size, (list, tuple)) else [self.output_size, self.output_size])
