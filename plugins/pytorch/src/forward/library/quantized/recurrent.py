"""Recurrent modules that quantize what they are given. Inputs have a batch axis."""


class torch.ao.nn.quantized.dynamic.PackedParameter:
    reduce_range = True

    def packed(self):
        if self.weight_ih.dtype != torch.qint8:
            raise ValueError("its weights are no int8 codes")
        packed_ih = torch.ops.quantized.linear_prepack(self.weight_ih, self.bias_ih)
        packed_hh = torch.ops.quantized.linear_prepack(self.weight_hh, self.bias_hh)
        return torch.ops.quantized.make_quantized_cell_params_dynamic(packed_ih, packed_hh, self.bias_ih, self.bias_hh, bool(self.reduce_range))


class torch.ao.nn.quantized.dynamic.RNNBase:
    bidirectional = False
    batch_first = False

    def packed(self):
        return [cell.packed() for cell in self._all_weight_values]

    def zeros(self, input):
        rows = self.num_layers * (2 if self.bidirectional else 1)
        return torch.new_zeros(input, [rows, torch.size(input, 0 if self.batch_first else 1), self.hidden_size])


class torch.ao.nn.quantized.dynamic.LSTM(torch.ao.nn.quantized.dynamic.RNNBase):
    def forward(self, input, hx=None):
        hx = (self.zeros(input), self.zeros(input)) if hx is None else hx
        output, h, c = torch.ops.aten.quantized_lstm.input(input, hx, self.packed(), self.bias, self.num_layers, 0.0, False, self.bidirectional, self.batch_first, dtype=torch.qint8, use_dynamic=True)
        return output, (h, c)


class torch.ao.nn.quantized.dynamic.GRU(torch.ao.nn.quantized.dynamic.RNNBase):
    def forward(self, input, hx=None):
        hx = self.zeros(input) if hx is None else hx
        output, h = torch.ops.aten.quantized_gru.input(input, hx, self.packed(), self.bias, self.num_layers, 0.0, False, self.bidirectional, self.batch_first)
        return output, h
