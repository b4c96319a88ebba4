"""The modules and functions of torchvision that graphs call as a whole."""


class torchvision.ops.StochasticDepth:
    def forward(self, input):
        return input


def torchvision.ops.stochastic_depth.stochastic_depth(input, p, mode, training=True):
    if training and p > 0:
        raise ValueError("it drops rows at random: the graph was traced in training mode")
    return input


class torchvision.ops.Permute:
    def forward(self, x):
        return torch.permute(x, self.dims)


class torchvision.ops.FrozenBatchNorm2d:
    eps = 1e-5

    def forward(self, x):
        scale = torch.reshape(self.weight, [1, -1, 1, 1]) * torch.rsqrt(torch.reshape(self.running_var, [1, -1, 1, 1]) + self.eps)
        return x * scale + (torch.reshape(self.bias, [1, -1, 1, 1]) - torch.reshape(self.running_mean, [1, -1, 1, 1]) * scale)


class torchvision.ops.SqueezeExcitation:
    is_container = True

    def forward(self, input):
        scale = self.avgpool(input)
        scale = self.activation(self.fc1(scale))
        return self.scale_activation(self.fc2(scale)) * input


class torchvision.ops.ConvNormActivation(torch.nn.Sequential):
    pass


class torchvision.ops.Conv2dNormActivation(torch.nn.Sequential):
    pass


class torchvision.ops.Conv3dNormActivation(torch.nn.Sequential):
    pass


class torchvision.ops.MLP(torch.nn.Sequential):
    pass


def torchvision.models.swin_transformer._patch_merging_pad(x):
    height = torch.size(x, -3)
    width = torch.size(x, -2)
    x = torch.pad(x, [0, 0, 0, width % 2, 0, height % 2])
    corners = [x[..., 0::2, 0::2, :], x[..., 1::2, 0::2, :], x[..., 0::2, 1::2, :], x[..., 1::2, 1::2, :]]
    return torch.cat(corners, -1)


def torchvision.models.swin_transformer._get_relative_position_bias(relative_position_bias_table, relative_position_index, window_size):
    count = window_size[0] * window_size[1]
    bias = torch.reshape(relative_position_bias_table[relative_position_index], [count, count, -1])
    return torch.unsqueeze(torch.permute(bias, [2, 0, 1]), 0)


def qp.windows(x, window_size, heights, widths):
    # A picture of shape (batch, height, width, channels) cut into windows: (windows, pixels, channels).
    channels = torch.size(x, 3)
    x = torch.reshape(x, [torch.size(x, 0), heights, window_size[0], widths, window_size[1], channels])
    return torch.reshape(torch.permute(x, [0, 1, 3, 2, 4, 5]), [-1, window_size[0] * window_size[1], channels])


def qp.window_numbers(size, window, shift):
    # The number of the part that each row belongs to: rows that a shift has brought together from both ends of a
    # picture do not see each other. Without a shift all rows are of one part.
    place = torch.arange(size)
    is_shifted = torch.gt(torch.full_like(place, shift), 0)
    parts = torch.to(torch.ge(place, size - window), torch.int64) + torch.to(torch.ge(place, size - shift), torch.int64)
    return torch.to(is_shifted, torch.int64) * parts


def torchvision.models.swin_transformer.shifted_window_attention(input, qkv_weight, proj_weight, relative_position_bias, window_size, num_heads, shift_size, attention_dropout=0.0, dropout=0.0, qkv_bias=None, proj_bias=None, logit_scale=None, training=True):
    if training and (attention_dropout > 0 or dropout > 0):
        raise ValueError("it drops values at random: the graph was traced in training mode")
    batch, height, width, channels = input.shape
    x = torch.pad(input, [0, 0, 0, (window_size[1] - width % window_size[1]) % window_size[1], 0, (window_size[0] - height % window_size[0]) % window_size[0]])
    full_height = torch.size(x, 1)
    full_width = torch.size(x, 2)
    # A window as large as the picture is not shifted.
    shift = [shift_size[0] * int(window_size[0] < full_height), shift_size[1] * int(window_size[1] < full_width)]
    x = torch.roll(x, [-shift[0], -shift[1]], [1, 2])
    heights = full_height // window_size[0]
    widths = full_width // window_size[1]
    count = window_size[0] * window_size[1]
    x = qp.windows(x, window_size, heights, widths)
    if logit_scale is not None and qkv_bias is not None:
        # The keys of the second version of the network have no bias.
        length = qkv_bias.shape[0] // 3
        qkv_bias = torch.cat([qkv_bias[:length], torch.zeros([length]), qkv_bias[2 * length:]])
    qkv = torch.linear(x, qkv_weight, qkv_bias)
    qkv = torch.permute(torch.reshape(qkv, [torch.size(x, 0), count, 3, num_heads, channels // num_heads]), [2, 0, 3, 1, 4])
    q, k, v = qkv[0], qkv[1], qkv[2]
    if logit_scale is not None:
        scores = torch.matmul(torch.nn.functional.normalize(q, dim=-1), torch.transpose(torch.nn.functional.normalize(k, dim=-1), -2, -1))
        scores = scores * torch.exp(torch.clamp(logit_scale, max=math.log(100.0)))
    else:
        scores = torch.matmul(q * ((channels // num_heads) ** -0.5), torch.transpose(k, -2, -1))
    scores = scores + relative_position_bias
    # Across the seams of the shift nothing is attended to.
    rows = torch.unsqueeze(qp.window_numbers(full_height, window_size[0], shift[0]), 1) * 3
    parts = torch.unsqueeze(torch.unsqueeze(rows + torch.unsqueeze(qp.window_numbers(full_width, window_size[1], shift[1]), 0), 0), 3)
    parts = torch.squeeze(qp.windows(parts, window_size, heights, widths), 2)
    mask = torch.ne(torch.unsqueeze(parts, 1), torch.unsqueeze(parts, 2))
    mask = torch.masked_fill(torch.zeros_like(mask, dtype=torch.float32), mask, -100.0)
    scores = torch.reshape(scores, [batch, heights * widths, num_heads, count, count]) + torch.unsqueeze(torch.unsqueeze(mask, 1), 0)
    scores = torch.softmax(torch.reshape(scores, [-1, num_heads, count, count]), -1)
    x = torch.reshape(torch.transpose(torch.matmul(scores, v), 1, 2), [-1, count, channels])
    x = torch.linear(x, proj_weight, proj_bias)
    x = torch.reshape(x, [batch, heights, widths, window_size[0], window_size[1], channels])
    x = torch.reshape(torch.permute(x, [0, 1, 3, 2, 4, 5]), [batch, full_height, full_width, channels])
    x = torch.roll(x, [shift[0], shift[1]], [1, 2])
    return torch.slice(torch.slice(x, 1, 0, height, 1), 2, 0, width, 1)
