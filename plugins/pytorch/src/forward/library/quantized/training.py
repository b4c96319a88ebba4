"""Fused and observed modules of torch.ao: the float halves of quantization, and training aware of it."""


class torch.ao.nn.intrinsic.ConvReLU1d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.ConvReLU2d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.ConvReLU3d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.ConvBn1d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.ConvBn2d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.ConvBn3d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.ConvBnReLU1d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.ConvBnReLU2d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.ConvBnReLU3d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.LinearReLU(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.LinearBn1d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.BNReLU2d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.BNReLU3d(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.LinearLeakyReLU(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.LinearTanh(torch.nn.Sequential):
    pass


class torch.ao.nn.intrinsic.ConvAdd2d:
    is_container = True

    def forward(self, x1, x2):
        return self.add(self[0](x1), x2)


class torch.ao.nn.intrinsic.ConvAddReLU2d:
    is_container = True

    def forward(self, x1, x2):
        return self.relu(self.add(self[0](x1), x2))


class torch.ao.quantization.QuantStub:
    def forward(self, input):
        return input


class torch.ao.quantization.DeQuantStub:
    def forward(self, input):
        return input


class torch.ao.quantization.QuantWrapper:
    is_container = True

    def forward(self, input):
        return self.dequant(self.module(self.quant(input)))


class torch.ao.quantization.ObserverBase:
    # An observer looks at what passes and changes nothing.
    def forward(self, input):
        return input


class torch.ao.quantization.MinMaxObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.MovingAverageMinMaxObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.PerChannelMinMaxObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.MovingAveragePerChannelMinMaxObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.HistogramObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.FixedQParamsObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.PlaceholderObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.RecordingObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.NoopObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.ReuseInputObserver(torch.ao.quantization.ObserverBase):
    pass


class torch.ao.quantization.FakeQuantize:
    def quantized(self, input):
        if qp.numbers(self.fake_quant_enabled)[0] != 1:
            return input
        low = self.activation_post_process.quant_min
        high = self.activation_post_process.quant_max
        if self.is_per_channel:
            return torch.fake_quantize_per_channel_affine(input, self.scale, self.zero_point, self.ch_axis, low, high)
        return torch.fake_quantize_per_tensor_affine(input, self.scale, self.zero_point, low, high)


    def forward(self, input):
        if qp.numbers(self.observer_enabled)[0] == 1:
            raise ValueError("its observer is switched on: its scale would follow the data")
        return self.quantized(input)


class torch.ao.quantization.FixedQParamsFakeQuantize(torch.ao.quantization.FakeQuantize):
    def forward(self, input):
        return self.quantized(input)


class torch.ao.quantization.FusedMovingAvgObsFakeQuantize:
    def forward(self, input):
        observer = self.activation_post_process
        # With its observer switched on, the scale follows the data; the operator does that, too.
        return torch.fused_moving_avg_obs_fake_quant(input, self.observer_enabled, self.fake_quant_enabled, observer.min_val, observer.max_val, self.scale, self.zero_point, observer.averaging_constant, observer.quant_min, observer.quant_max, self.ch_axis, self.is_per_channel, self.is_symmetric_quant)


class torch.ao.nn.qat.Linear:
    def forward(self, input):
        return torch.linear(input, self.weight_fake_quant(self.weight), self.bias)


class torch.ao.nn.qat.Embedding:
    def forward(self, input):
        return torch.nn.functional.embedding(input, self.weight_fake_quant(self.weight), self.padding_idx, self.max_norm)


class torch.ao.nn.qat.EmbeddingBag:
    include_last_offset = False
    padding_idx = None

    def forward(self, input, offsets=None, per_sample_weights=None):
        return torch.nn.functional.embedding_bag(input, self.weight_fake_quant(self.weight), offsets, self.max_norm, self.norm_type, False, self.mode, False, per_sample_weights, self.include_last_offset, self.padding_idx)


class torch.ao.nn.intrinsic.qat.LinearReLU(torch.ao.nn.qat.Linear):
    def forward(self, input):
        return torch.relu(torch.linear(input, self.weight_fake_quant(self.weight), self.bias))


class torch.ao.nn.intrinsic.qat.LinearBn1d:
    def forward(self, input):
        factor = self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps)
        weight = self.weight_fake_quant(self.weight * torch.reshape(factor, [-1, 1]))
        output = torch.linear(input, weight) / torch.reshape(factor, [1, -1])
        return self.bn(output if self.bias is None else output + torch.reshape(self.bias, [1, -1]))


class torch.ao.nn.qat.Conv1d(torch.nn.Conv1d):
    def forward(self, input):
        return self.convolved(input, self.weight_fake_quant(self.weight), self.bias)


class torch.ao.nn.intrinsic.qat.ConvReLU1d(torch.nn.Conv1d):
    def forward(self, input):
        return torch.relu(self.convolved(input, self.weight_fake_quant(self.weight), self.bias))


class torch.ao.nn.intrinsic.qat.ConvBn1d(torch.nn.Conv1d):
    def normalized(self, input):
        # The weight is scaled by the normalization before it is quantized, and the result scaled back.
        factor = self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps)
        weight = self.weight_fake_quant(self.weight * torch.reshape(factor, [-1, 1, 1]))
        output = self.convolved(input, weight, None) / torch.reshape(factor, [1, -1, 1])
        return self.bn(output if self.bias is None else output + torch.reshape(self.bias, [1, -1, 1]))

    def forward(self, input):
        return self.normalized(input)


class torch.ao.nn.intrinsic.qat.ConvBnReLU1d(torch.ao.nn.intrinsic.qat.ConvBn1d):
    def forward(self, input):
        return torch.relu(self.normalized(input))


class torch.ao.nn.qat.Conv2d(torch.nn.Conv2d):
    def forward(self, input):
        return self.convolved(input, self.weight_fake_quant(self.weight), self.bias)


class torch.ao.nn.intrinsic.qat.ConvReLU2d(torch.nn.Conv2d):
    def forward(self, input):
        return torch.relu(self.convolved(input, self.weight_fake_quant(self.weight), self.bias))


class torch.ao.nn.intrinsic.qat.ConvBn2d(torch.nn.Conv2d):
    def normalized(self, input):
        # The weight is scaled by the normalization before it is quantized, and the result scaled back.
        factor = self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps)
        weight = self.weight_fake_quant(self.weight * torch.reshape(factor, [-1, 1, 1, 1]))
        output = self.convolved(input, weight, None) / torch.reshape(factor, [1, -1, 1, 1])
        return self.bn(output if self.bias is None else output + torch.reshape(self.bias, [1, -1, 1, 1]))

    def forward(self, input):
        return self.normalized(input)


class torch.ao.nn.intrinsic.qat.ConvBnReLU2d(torch.ao.nn.intrinsic.qat.ConvBn2d):
    def forward(self, input):
        return torch.relu(self.normalized(input))


class torch.ao.nn.qat.Conv3d(torch.nn.Conv3d):
    def forward(self, input):
        return self.convolved(input, self.weight_fake_quant(self.weight), self.bias)


class torch.ao.nn.intrinsic.qat.ConvReLU3d(torch.nn.Conv3d):
    def forward(self, input):
        return torch.relu(self.convolved(input, self.weight_fake_quant(self.weight), self.bias))


class torch.ao.nn.intrinsic.qat.ConvBn3d(torch.nn.Conv3d):
    def normalized(self, input):
        # The weight is scaled by the normalization before it is quantized, and the result scaled back.
        factor = self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps)
        weight = self.weight_fake_quant(self.weight * torch.reshape(factor, [-1, 1, 1, 1, 1]))
        output = self.convolved(input, weight, None) / torch.reshape(factor, [1, -1, 1, 1, 1])
        return self.bn(output if self.bias is None else output + torch.reshape(self.bias, [1, -1, 1, 1, 1]))

    def forward(self, input):
        return self.normalized(input)


class torch.ao.nn.intrinsic.qat.ConvBnReLU3d(torch.ao.nn.intrinsic.qat.ConvBn3d):
    def forward(self, input):
        return torch.relu(self.normalized(input))
