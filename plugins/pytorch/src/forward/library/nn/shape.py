"""Modules of torch.nn that move values about."""


class torch.nn.Identity:
    def forward(self, input):
        return input


class torch.nn.Flatten:
    def forward(self, input):
        return torch.flatten(input, self.start_dim, self.end_dim)


class torch.nn.Unflatten:
    def forward(self, input):
        return torch.unflatten(input, self.dim, self.unflattened_size)


class torch.nn.ConstantPad1d:
    value = 0.0

    def forward(self, input):
        return torch.pad(input, self.padding, "constant", self.value)


class torch.nn.ZeroPad1d(torch.nn.ConstantPad1d):
    pass


class torch.nn.ConstantPad2d:
    value = 0.0

    def forward(self, input):
        return torch.pad(input, self.padding, "constant", self.value)


class torch.nn.ZeroPad2d(torch.nn.ConstantPad2d):
    pass


class torch.nn.ConstantPad3d:
    value = 0.0

    def forward(self, input):
        return torch.pad(input, self.padding, "constant", self.value)


class torch.nn.ZeroPad3d(torch.nn.ConstantPad3d):
    pass


class torch.nn.ReflectionPad1d:
    def forward(self, input):
        return torch.pad(input, self.padding, "reflect")


class torch.nn.ReflectionPad2d:
    def forward(self, input):
        return torch.pad(input, self.padding, "reflect")


class torch.nn.ReflectionPad3d:
    def forward(self, input):
        return torch.pad(input, self.padding, "reflect")


class torch.nn.ReplicationPad1d:
    def forward(self, input):
        return torch.pad(input, self.padding, "replicate")


class torch.nn.ReplicationPad2d:
    def forward(self, input):
        return torch.pad(input, self.padding, "replicate")


class torch.nn.ReplicationPad3d:
    def forward(self, input):
        return torch.pad(input, self.padding, "replicate")


class torch.nn.CircularPad1d:
    def forward(self, input):
        return torch.pad(input, self.padding, "circular")


class torch.nn.CircularPad2d:
    def forward(self, input):
        return torch.pad(input, self.padding, "circular")


class torch.nn.CircularPad3d:
    def forward(self, input):
        return torch.pad(input, self.padding, "circular")


class torch.nn.Upsample:
    recompute_scale_factor = None

    def forward(self, input):
        return torch.nn.functional.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)


class torch.nn.UpsamplingNearest2d(torch.nn.Upsample):
    pass


class torch.nn.UpsamplingBilinear2d(torch.nn.Upsample):
    pass


class torch.nn.PixelShuffle:
    def forward(self, input):
        return torch.pixel_shuffle(input, self.upscale_factor)


class torch.nn.PixelUnshuffle:
    def forward(self, input):
        return torch.pixel_unshuffle(input, self.downscale_factor)


class torch.nn.ChannelShuffle:
    def forward(self, input):
        return torch.channel_shuffle(input, self.groups)


class torch.nn.Fold:
    def forward(self, input):
        return torch.nn.functional.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)


class torch.nn.Unfold:
    def forward(self, input):
        return torch.nn.functional.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)
