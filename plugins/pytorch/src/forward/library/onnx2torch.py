"""The forward of the node converters of onnx2torch, which models converted from ONNX carry."""


class onnx2torch.OnnxBinaryMathOperation:
    broadcast = None
    axis = None

    def forward(self, first, second):
        if self.broadcast == 1 and self.axis is not None:
            raise ValueError("the broadcasting of old ONNX operators is not known")
        return self.math_op_function(first, second)


class onnx2torch.OnnxTranspose:
    perm = None

    def forward(self, input):
        return torch.numpy_T(input) if self.perm is None else torch.permute(input, self.perm)


class onnx2torch.OnnxMatMul:
    def forward(self, x, y):
        return torch.matmul(x, y)


class onnx2torch.OnnxPadStatic:
    def forward(self, input):
        return torch.pad(input, self.pads, self.mode, self.constant_value)


class onnx2torch.OnnxReshape:
    def forward(self, input, shape):
        return torch.reshape(input, qp.numbers(shape))
