"""Recurrent modules of torch.nn, and attention. Inputs have a batch axis: libtorch refuses those without."""


class torch.nn.RNNBase:
    proj_size = 0
    bidirectional = False
    batch_first = False

    def parameters(self):
        names = []
        for layer in range(self.num_layers):
            for suffix in ["", "_reverse"] if self.bidirectional else [""]:
                names = names + ["weight_ih_l" + str(layer) + suffix, "weight_hh_l" + str(layer) + suffix]
                if self.bias:
                    names = names + ["bias_ih_l" + str(layer) + suffix, "bias_hh_l" + str(layer) + suffix]
                if self.proj_size > 0:
                    names = names + ["weight_hr_l" + str(layer) + suffix]
        return [getattr(self, name) for name in names]

    def zeros(self, input, width):
        rows = self.num_layers * (2 if self.bidirectional else 1)
        return torch.new_zeros(input, [rows, torch.size(input, 0 if self.batch_first else 1), width])


class torch.nn.LSTM(torch.nn.RNNBase):
    def forward(self, input, hx=None):
        if hx is None:
            width = self.proj_size if self.proj_size > 0 else self.hidden_size
            hx = (self.zeros(input, width), self.zeros(input, self.hidden_size))
        output, h, c = torch.ops.aten.lstm.input(input, hx, self.parameters(), self.bias, self.num_layers, 0.0, False, self.bidirectional, self.batch_first)
        return output, (h, c)


class torch.nn.GRU(torch.nn.RNNBase):
    def forward(self, input, hx=None):
        hx = self.zeros(input, self.hidden_size) if hx is None else hx
        output, h = torch.ops.aten.gru.input(input, hx, self.parameters(), self.bias, self.num_layers, 0.0, False, self.bidirectional, self.batch_first)
        return output, h


class torch.nn.RNN(torch.nn.RNNBase):
    nonlinearity = "tanh"

    def forward(self, input, hx=None):
        hx = self.zeros(input, self.hidden_size) if hx is None else hx
        name = "aten::rnn_relu.input" if self.nonlinearity == "relu" else "aten::rnn_tanh.input"
        output, h = qp.operator(name, input, hx, self.parameters(), self.bias, self.num_layers, 0.0, False, self.bidirectional, self.batch_first)
        return output, h


class torch.nn.RNNCellBase:
    def zeros(self, input):
        return torch.new_zeros(input, [torch.size(input, 0), self.hidden_size])


class torch.nn.LSTMCell(torch.nn.RNNCellBase):
    def forward(self, input, hx=None):
        hx = (self.zeros(input), self.zeros(input)) if hx is None else hx
        h, c = torch.lstm_cell(input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return h, c


class torch.nn.GRUCell(torch.nn.RNNCellBase):
    def forward(self, input, hx=None):
        hx = self.zeros(input) if hx is None else hx
        return torch.gru_cell(input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


class torch.nn.RNNCell(torch.nn.RNNCellBase):
    def forward(self, input, hx=None):
        hx = self.zeros(input) if hx is None else hx
        name = "aten::rnn_relu_cell" if self.nonlinearity == "relu" else "aten::rnn_tanh_cell"
        return qp.operator(name, input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


class torch.nn.MultiheadAttention:
    batch_first = False
    add_zero_attn = False

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True, is_causal=False):
        if self.batch_first:
            query = torch.transpose(query, 0, 1)
            key = torch.transpose(key, 0, 1)
            value = torch.transpose(value, 0, 1)
        is_separate = not self._qkv_same_embed_dim
        output, weights = torch.nn.functional.multi_head_attention_forward(query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, 0.0, self.out_proj.weight, self.out_proj.bias, False, key_padding_mask, need_weights, attn_mask, is_separate, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight, None, None, average_attn_weights)
        return (torch.transpose(output, 0, 1) if self.batch_first else output), weights
