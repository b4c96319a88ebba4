"""The node converters of onnx2torch that compute, which models converted from ONNX carry."""


def qp.check_broadcast(module):
    if module.broadcast == 1 and module.axis is not None:
        raise ValueError("the broadcasting of old ONNX operators is not known")


class onnx2torch.OnnxBinaryMathOperation:
    broadcast = None
    axis = None

    def forward(self, first, second):
        qp.check_broadcast(self)
        return self.math_op_function(first, second)


def onnx2torch.node_converters.binary_math_operations._onnx_div(first, second):
    if qp.is_float(first) or qp.is_float(second):
        return torch.div(first, second)
    # Whole numbers are divided towards zero. Which of both the operands are is only known when they are there.
    is_whole = 1 - int(torch.is_floating_point(first)) * 1
    is_whole = is_whole * (1 - int(torch.is_floating_point(second)))
    quotient = torch.div(torch.to(first, torch.float64), second)
    return torch.ops.aten.to.dtype(quotient - (quotient - torch.trunc(quotient)) * is_whole, torch.result_type(first, second))


class onnx2torch.OnnxMatMul:
    def forward(self, x, y):
        return torch.matmul(x, y)


class onnx2torch.OnnxGemm:
    def forward(self, input_a, input_b, input_c=None):
        a = torch.transpose(input_a, 0, 1) if self.trans_a else input_a
        b = torch.transpose(input_b, 0, 1) if self.trans_b else input_b
        output = torch.matmul(a, b) * self.alpha
        return output if input_c is None else output + input_c * self.beta


class onnx2torch.OnnxErf:
    def forward(self, input):
        return torch.erf(input)


class onnx2torch.OnnxHardSigmoid:
    def forward(self, input):
        return torch.clamp(input * self.alpha + self.beta, 0.0, 1.0)


class onnx2torch.OnnxSoftmaxV1V11:
    is_log = False

    def forward(self, input):
        rows = torch.flatten(input, self.axis)
        result = torch.log_softmax(rows, -1) if self.is_log else torch.softmax(rows, -1)
        return torch.reshape(result, torch.size(input))


class onnx2torch.OnnxPReLU:
    def forward(self, input, slope):
        # One slope for each channel, or slopes that broadcast.
        if all([size == 1 for size in slope.shape[1:]]):
            return torch.prelu(input, torch.reshape(slope, [-1]))
        return torch.where(input >= 0, input, input * slope)


class onnx2torch.OnnxArgExtremumOld:
    select_last_index = False

    def forward(self, data):
        if self.select_last_index:
            found = self.extremum_function(torch.flip(data, [self.axis]), self.axis, self.keepdims)
            return torch.size(data, self.axis) - 1 - found
        return self.extremum_function(data, self.axis, self.keepdims)


class onnx2torch.OnnxArgExtremum(onnx2torch.OnnxArgExtremumOld):
    pass


class onnx2torch.OnnxClip:
    def forward(self, input):
        return torch.clamp(input, self.min_val, self.max_val)


class onnx2torch.OnnxCompare:
    def forward(self, x, y):
        return self.compare_function(x, y)


class onnx2torch.OnnxCumSum:
    exclusive = False
    reverse = False

    def forward(self, input, axis):
        axis = qp.ints(axis)[0]
        x = torch.flip(input, [axis]) if self.reverse else input
        if self.exclusive:
            x = torch.cat([torch.zeros_like(torch.narrow(x, axis, 0, 1)), torch.narrow(x, axis, 0, torch.size(x, axis) - 1)], axis)
        x = torch.cumsum(x, axis)
        return torch.flip(x, [axis]) if self.reverse else x


class onnx2torch.OnnxFunction:
    def forward(self, input):
        return self.function(input)


class onnx2torch.OnnxRound:
    def forward(self, input):
        return self.round_function(input)


class onnx2torch.OnnxInstanceNorm:
    def forward(self, input, weight, bias):
        return torch.instance_norm(input, weight, bias, None, None, True, self.momentum, self.epsilon, True)


class onnx2torch.OnnxBatchNorm:
    def forward(self, input, weight, bias, running_mean, running_var):
        return torch.batch_norm(input, weight, bias, running_mean, running_var, False, self.momentum, self.epsilon, True)


class onnx2torch.OnnxLayerNorm:
    def forward(self, input, scale, bias=None):
        return torch.layer_norm(input, torch.size(input)[self.axis:], scale, bias, self.epsilon)


class onnx2torch.OnnxNot:
    def forward(self, input):
        return torch.logical_not(input)


class onnx2torch.OnnxLogical:
    broadcast = None
    axis = None

    def forward(self, first, second):
        qp.check_broadcast(self)
        return self.logic_op_function(first, second)


class onnx2torch.OnnxSum:
    def forward(self, *inputs):
        total = inputs[0]
        for input in inputs[1:]:
            total = torch.add(total, input)
        return total


class onnx2torch.OnnxMean(onnx2torch.OnnxSum):
    def forward(self, *inputs):
        total = inputs[0]
        for input in inputs[1:]:
            total = torch.add(total, input)
        return total if len(inputs) == 1 else torch.div(total, len(inputs))


class onnx2torch.OnnxMinMax:
    def forward(self, *inputs):
        found = inputs[0]
        for input in inputs[1:]:
            found = torch.maximum(found, input) if self._op_type == "Max" else torch.minimum(found, input)
        return found


class onnx2torch.OnnxMod:
    def forward(self, x, y):
        return torch.fmod(x, y) if self.fmod == 1 else torch.remainder(x, y)


class onnx2torch.OnnxNeg:
    def forward(self, input):
        return torch.neg(input)


class onnx2torch.OnnxPow:
    broadcast = None
    axis = None

    def forward(self, input, exponent):
        qp.check_broadcast(self)
        return torch.pow(input, exponent)


class onnx2torch.OnnxSqrt:
    def forward(self, input):
        return torch.sqrt(input)


class onnx2torch.OnnxReciprocal:
    def forward(self, x):
        return torch.reciprocal(x)


class onnx2torch.OnnxReduceSumDynamicAxes:
    def forward(self, input, axes=None):
        axes = [] if axes is None else qp.numbers(axes)
        if len(axes) == 0 and self._noop_with_empty_axes:
            return input
        return torch.ops.aten.sum.dim_IntList(input, axes, self._keepdims == 1)


class onnx2torch.OnnxReduceSumStaticAxes:
    def forward(self, input):
        axes = [] if self._axes is None else self._axes
        if len(axes) == 0 and self._noop_with_empty_axes:
            return input
        return torch.ops.aten.sum.dim_IntList(input, axes, self._keepdims == 1)


class onnx2torch.OnnxReduceStaticAxes:
    def forward(self, input):
        # No axes stand for all of them.
        axes = [] if self.axes is None else self.axes
        kind = self.operation_type
        keep = self.keepdims
        if kind == "ReduceL1":
            return torch.norm(input, 1, axes, keep)
        if kind == "ReduceL2":
            return torch.norm(input, 2, axes, keep)
        if kind == "ReduceMax":
            return torch.amax(input, axes, keep)
        if kind == "ReduceMin":
            return torch.amin(input, axes, keep)
        if kind == "ReduceMean":
            return torch.ops.aten.mean.dim(input, axes, keep)
        if kind == "ReduceSum":
            return torch.ops.aten.sum.dim_IntList(input, axes, keep)
        if kind == "ReduceLogSum":
            return torch.log(torch.ops.aten.sum.dim_IntList(input, axes, keep))
        if kind == "ReduceSumSquare":
            return torch.ops.aten.sum.dim_IntList(torch.mul(input, input), axes, keep)
        if kind == "ReduceLogSumExp":
            if len(axes) == 0:
                total = torch.logsumexp(torch.reshape(input, [-1]), [0])
                return torch.reshape(total, [1] * torch.dim(input)) if keep else total
            return torch.logsumexp(input, axes, keep)
        if kind != "ReduceProd":
            raise ValueError("a reduction of an unknown kind")
        if len(axes) == 0:
            product = torch.ops.aten.prod(input)
            return torch.reshape(product, [1] * torch.dim(input)) if keep else product
        # From the last one on, so that the numbers of the others stay.
        for axis in reversed(sorted(axes)):
            input = torch.ops.aten.prod.dim_int(input, axis, keep)
        return input


class onnx2torch.OnnxEinsum:
    def forward(self, *inputs):
        return torch.einsum(self.equation, inputs)


class onnx2torch.OnnxIsInf:
    def forward(self, input):
        return torch.isinf(input)


class onnx2torch.OnnxIsNaN:
    def forward(self, input):
        return torch.isnan(input)


class onnx2torch.OnnxWhere:
    def forward(self, condition, x, y):
        return torch.where(condition, x, y)
