"""Convolutions of torch.nn, and the layers that multiply by a matrix."""


class torch.nn.Linear:
    bias = None

    def forward(self, input):
        return torch.linear(input, self.weight, self.bias)


class torch.nn.NonDynamicallyQuantizableLinear(torch.nn.Linear):
    pass


class torch.nn.Bilinear:
    def forward(self, input1, input2):
        return torch.bilinear(input1, input2, self.weight, self.bias)


class torch.nn.Conv1d:
    padding_mode = "zeros"

    def convolved(self, input, weight, bias):
        if self.padding_mode != "zeros":
            input = torch.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
            return torch.conv1d(input, weight, bias, self.stride, [0], self.dilation, self.groups)
        return torch.conv1d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, input):
        return self.convolved(input, self.weight, self.bias)


class torch.nn.Conv2d:
    padding_mode = "zeros"

    def convolved(self, input, weight, bias):
        if self.padding_mode != "zeros":
            input = torch.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
            return torch.conv2d(input, weight, bias, self.stride, [0, 0], self.dilation, self.groups)
        return torch.conv2d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, input):
        return self.convolved(input, self.weight, self.bias)


class torch.nn.Conv3d:
    padding_mode = "zeros"

    def convolved(self, input, weight, bias):
        if self.padding_mode != "zeros":
            input = torch.pad(input, self._reversed_padding_repeated_twice, self.padding_mode)
            return torch.conv3d(input, weight, bias, self.stride, [0, 0, 0], self.dilation, self.groups)
        return torch.conv3d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, input):
        return self.convolved(input, self.weight, self.bias)


class torch.nn.ConvTranspose1d:
    def forward(self, input, output_size=None):
        if output_size is not None:
            raise ValueError("a transposed convolution to a given size is not known")
        return torch.conv_transpose1d(input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)


class torch.nn.ConvTranspose2d:
    def forward(self, input, output_size=None):
        if output_size is not None:
            raise ValueError("a transposed convolution to a given size is not known")
        return torch.conv_transpose2d(input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)


class torch.nn.ConvTranspose3d:
    def forward(self, input, output_size=None):
        if output_size is not None:
            raise ValueError("a transposed convolution to a given size is not known")
        return torch.conv_transpose3d(input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)


class torch.nn.Embedding:
    def forward(self, input):
        return torch.nn.functional.embedding(input, self.weight, self.padding_idx, self.max_norm)


class torch.nn.EmbeddingBag:
    include_last_offset = False
    padding_idx = None

    def forward(self, input, offsets=None, per_sample_weights=None):
        return torch.nn.functional.embedding_bag(input, self.weight, offsets, self.max_norm, self.norm_type, False, self.mode, False, per_sample_weights, self.include_last_offset, self.padding_idx)


class torch.nn.CosineSimilarity:
    def forward(self, x1, x2):
        return torch.cosine_similarity(x1, x2, self.dim, self.eps)


class torch.nn.PairwiseDistance:
    def forward(self, x1, x2):
        return torch.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
