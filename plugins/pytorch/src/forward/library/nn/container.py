"""Containers of torch.nn: their children are the layers."""


class torch.nn.Sequential:
    is_container = True

    def forward(self, input):
        for module in self:
            input = module(input)
        return input


class torch.nn.TransformerEncoderLayer:
    is_container = True

    def attended(self, x, mask, padding, is_causal):
        return self.self_attn(x, x, x, key_padding_mask=padding, need_weights=False, attn_mask=mask)[0]

    def fed_forward(self, x):
        return self.linear2(self.activation(self.linear1(x)))

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        if self.norm_first:
            x = src + self.attended(self.norm1(src), src_mask, src_key_padding_mask, is_causal)
            return x + self.fed_forward(self.norm2(x))
        x = self.norm1(src + self.attended(src, src_mask, src_key_padding_mask, is_causal))
        return self.norm2(x + self.fed_forward(x))


class torch.nn.TransformerEncoder:
    is_container = True
    norm = None

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


class torch.nn.TransformerDecoderLayer:
    is_container = True

    def attended(self, x, mask, padding):
        return self.self_attn(x, x, x, key_padding_mask=padding, need_weights=False, attn_mask=mask)[0]

    def attended_to(self, x, memory, mask, padding):
        return self.multihead_attn(x, memory, memory, key_padding_mask=padding, need_weights=False, attn_mask=mask)[0]

    def fed_forward(self, x):
        return self.linear2(self.activation(self.linear1(x)))

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, tgt_is_causal=False, memory_is_causal=False):
        if self.norm_first:
            x = tgt + self.attended(self.norm1(tgt), tgt_mask, tgt_key_padding_mask)
            x = x + self.attended_to(self.norm2(x), memory, memory_mask, memory_key_padding_mask)
            return x + self.fed_forward(self.norm3(x))
        x = self.norm1(tgt + self.attended(tgt, tgt_mask, tgt_key_padding_mask))
        x = self.norm2(x + self.attended_to(x, memory, memory_mask, memory_key_padding_mask))
        return self.norm3(x + self.fed_forward(x))


class torch.nn.TransformerDecoder:
    is_container = True
    norm = None

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, tgt_is_causal=None, memory_is_causal=False):
        for layer in self.layers:
            tgt = layer(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return tgt if self.norm is None else self.norm(tgt)


class torch.nn.Transformer:
    is_container = True

    def forward(self, src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=None, tgt_is_causal=None, memory_is_causal=False):
        memory = self.encoder(src, src_mask, src_key_padding_mask)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
