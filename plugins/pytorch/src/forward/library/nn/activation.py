"""Activations of torch.nn."""


class torch.nn.ReLU:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.relu(input, self.inplace)


class torch.nn.ReLU6:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.relu6(input, self.inplace)


class torch.nn.SELU:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.selu(input, self.inplace)


class torch.nn.SiLU:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.silu(input, self.inplace)


class torch.nn.Mish:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.mish(input, self.inplace)


class torch.nn.Hardswish:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.hardswish(input, self.inplace)


class torch.nn.Hardsigmoid:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.hardsigmoid(input, self.inplace)


class torch.nn.LeakyReLU:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.leaky_relu(input, self.negative_slope, self.inplace)


class torch.nn.RReLU:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.rrelu(input, self.lower, self.upper, False, self.inplace)


class torch.nn.ELU:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.elu(input, self.alpha, self.inplace)


class torch.nn.CELU:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.celu(input, self.alpha, self.inplace)


class torch.nn.Hardtanh:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.hardtanh(input, self.min_val, self.max_val, self.inplace)


class torch.nn.Threshold:
    inplace = False

    def forward(self, input):
        return torch.nn.functional.threshold(input, self.threshold, self.value, self.inplace)


class torch.nn.GELU:
    approximate = "none"

    def forward(self, input):
        return torch.gelu(input, approximate=self.approximate)


class torch.nn.Sigmoid:
    def forward(self, input):
        return torch.sigmoid(input)


class torch.nn.Tanh:
    def forward(self, input):
        return torch.tanh(input)


class torch.nn.LogSigmoid:
    def forward(self, input):
        return torch.log_sigmoid(input)


class torch.nn.Softsign:
    def forward(self, input):
        return torch.nn.functional.softsign(input)


class torch.nn.Tanhshrink:
    def forward(self, input):
        return torch.nn.functional.tanhshrink(input)


class torch.nn.GLU:
    def forward(self, input):
        return torch.glu(input, self.dim)


class torch.nn.PReLU:
    def forward(self, input):
        return torch.prelu(input, self.weight)


class torch.nn.Softplus:
    def forward(self, input):
        return torch.softplus(input, self.beta, self.threshold)


class torch.nn.Softshrink:
    def forward(self, input):
        return torch.softshrink(input, self.lambd)


class torch.nn.Hardshrink:
    def forward(self, input):
        return torch.hardshrink(input, self.lambd)


class torch.nn.Softmax:
    def forward(self, input):
        return torch.nn.functional.softmax(input, self.dim)


class torch.nn.LogSoftmax:
    def forward(self, input):
        return torch.nn.functional.log_softmax(input, self.dim)


class torch.nn.Softmin:
    def forward(self, input):
        return torch.nn.functional.softmin(input, self.dim)


class torch.nn.Softmax2d:
    def forward(self, input):
        return torch.softmax(input, -3)


class torch.nn.Dropout:
    def forward(self, input):
        return input


class torch.nn.Dropout1d:
    def forward(self, input):
        return input


class torch.nn.Dropout2d:
    def forward(self, input):
        return input


class torch.nn.Dropout3d:
    def forward(self, input):
        return input


class torch.nn.AlphaDropout:
    def forward(self, input):
        return input


class torch.nn.FeatureAlphaDropout:
    def forward(self, input):
        return input
