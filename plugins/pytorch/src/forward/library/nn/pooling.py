"""Pooling of torch.nn."""


class torch.nn.MaxPool1d:
    return_indices = False

    def forward(self, input):
        return torch.nn.functional.max_pool1d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class torch.nn.MaxPool2d:
    return_indices = False

    def forward(self, input):
        return torch.nn.functional.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class torch.nn.MaxPool3d:
    return_indices = False

    def forward(self, input):
        return torch.nn.functional.max_pool3d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class torch.nn.AvgPool1d:
    def forward(self, input):
        return torch.nn.functional.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class torch.nn.AvgPool2d:
    divisor_override = None

    def forward(self, input):
        return torch.nn.functional.avg_pool2d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override)


class torch.nn.AvgPool3d:
    divisor_override = None

    def forward(self, input):
        return torch.nn.functional.avg_pool3d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override)


class torch.nn.AdaptiveAvgPool1d:
    def forward(self, input):
        return torch.nn.functional.adaptive_avg_pool1d(input, self.output_size)


class torch.nn.AdaptiveAvgPool2d:
    def forward(self, input):
        return torch.nn.functional.adaptive_avg_pool2d(input, self.output_size)


class torch.nn.AdaptiveAvgPool3d:
    def forward(self, input):
        return torch.nn.functional.adaptive_avg_pool3d(input, self.output_size)


class torch.nn.AdaptiveMaxPool1d:
    return_indices = False

    def forward(self, input):
        return torch.nn.functional.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class torch.nn.AdaptiveMaxPool2d:
    return_indices = False

    def forward(self, input):
        return torch.nn.functional.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class torch.nn.AdaptiveMaxPool3d:
    return_indices = False

    def forward(self, input):
        return torch.nn.functional.adaptive_max_pool3d(input, self.output_size, self.return_indices)


class torch.nn.LPPool1d:
    def forward(self, input):
        return torch.nn.functional.lp_pool1d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class torch.nn.LPPool2d:
    def forward(self, input):
        return torch.nn.functional.lp_pool2d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class torch.nn.LPPool3d:
    def forward(self, input):
        return torch.nn.functional.lp_pool3d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class torch.nn.FractionalMaxPool2d:
    return_indices = False

    def forward(self, input):
        return torch.nn.functional.fractional_max_pool2d(input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples)


class torch.nn.FractionalMaxPool3d:
    return_indices = False

    def forward(self, input):
        return torch.nn.functional.fractional_max_pool3d(input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples)


class torch.nn.MaxUnpool1d:
    def forward(self, input, indices, output_size=None):
        return torch.nn.functional.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class torch.nn.MaxUnpool2d:
    def forward(self, input, indices, output_size=None):
        return torch.nn.functional.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class torch.nn.MaxUnpool3d:
    def forward(self, input, indices, output_size=None):
        return torch.nn.functional.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)
