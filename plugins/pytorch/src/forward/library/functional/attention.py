"""Attention and embeddings of torch.nn.functional."""


def torch.nn.functional.embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    if max_norm is not None:
        raise ValueError("an embedding with a maximal norm changes its weight as it runs")
    return torch.embedding(weight, input, -1 if padding_idx is None else padding_idx, scale_grad_by_freq, sparse)


def torch.nn.functional.embedding_bag(input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean", sparse=False, per_sample_weights=None, include_last_offset=False, padding_idx=None):
    if max_norm is not None:
        raise ValueError("an embedding with a maximal norm changes its weight as it runs")
    if offsets is None:
        # Each row of a matrix of indices is a bag.
        offsets = torch.arange(0, torch.numel(input), torch.size(input, 1))
        input = torch.reshape(input, [-1])
        if per_sample_weights is not None:
            per_sample_weights = torch.reshape(per_sample_weights, [-1])
    kind = 0 if mode == "sum" else 1 if mode == "mean" else 2
    return torch.ops.aten.embedding_bag.padding_idx(weight, input, offsets, scale_grad_by_freq, kind, sparse, per_sample_weights, include_last_offset, padding_idx)[0]


def torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    if dropout_p > 0.0:
        raise ValueError("it drops values at random: the graph was traced in training mode")
    return torch.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa)


def torch._C._nn.scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)


def qp.additive_mask(mask):
    # Of a boolean mask, what is true counts as minus infinity; numbers are added as they are. Which of both a mask is
    # can only be told when it is there.
    is_bool = int(mask.dtype == torch.bool)
    forbidden = torch.logical_and(torch.to(mask, torch.bool), torch.full_like(mask, is_bool, dtype=torch.bool))
    return torch.masked_fill(torch.to(mask, torch.float32) * (1 - is_bool), forbidden, -math.inf)


def torch.nn.functional.multi_head_attention_forward(query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, add_zero_attn, dropout_p, out_proj_weight, out_proj_bias, training=True, key_padding_mask=None, need_weights=True, attn_mask=None, use_separate_proj_weight=False, q_proj_weight=None, k_proj_weight=None, v_proj_weight=None, static_k=None, static_v=None, average_attn_weights=True, is_causal=False):
    if training and dropout_p > 0.0:
        raise ValueError("it drops values at random: the graph was traced in training mode")
    if static_k is not None or static_v is not None:
        raise ValueError("attention to given keys and values is not known")
    if add_zero_attn:
        raise ValueError("attention with an added zero is not known")
    target, batch, _ = query.shape
    biases = [None, None, None] if in_proj_bias is None else torch.chunk(in_proj_bias, 3)
    weights = [q_proj_weight, k_proj_weight, v_proj_weight] if use_separate_proj_weight else torch.chunk(in_proj_weight, 3)
    q = torch.linear(query, weights[0], biases[0])
    k = torch.linear(key, weights[1], biases[1])
    v = torch.linear(value, weights[2], biases[2])
    mask = None if attn_mask is None else qp.additive_mask(attn_mask)
    padding = None if key_padding_mask is None else qp.additive_mask(key_padding_mask)
    if bias_k is not None:
        k = torch.cat([k, torch.repeat(bias_k, [1, batch, 1])])
        v = torch.cat([v, torch.repeat(bias_v, [1, batch, 1])])
        mask = None if mask is None else torch.pad(mask, [0, 1])
        padding = None if padding is None else torch.pad(padding, [0, 1])
    source = torch.size(k, 0)
    width = embed_dim_to_check // num_heads
    q = torch.transpose(torch.reshape(q, [target, batch * num_heads, width]), 0, 1)
    k = torch.transpose(torch.reshape(k, [source, batch * num_heads, width]), 0, 1)
    v = torch.transpose(torch.reshape(v, [source, batch * num_heads, width]), 0, 1)
    scores = torch.bmm(q * math.sqrt(1.0 / width), torch.transpose(k, 1, 2))
    if mask is not None:
        scores = scores + mask
    if padding is not None:
        rows = torch.expand(torch.reshape(padding, [batch, 1, 1, source]), [batch, num_heads, 1, source])
        scores = scores + torch.reshape(rows, [batch * num_heads, 1, source])
    scores = torch.softmax(scores, -1)
    output = torch.reshape(torch.transpose(torch.bmm(scores, v), 0, 1), [target, batch, num_heads * width])
    output = torch.linear(output, out_proj_weight, out_proj_bias)
    if not need_weights:
        return output, None
    scores = torch.reshape(scores, [batch, num_heads, target, source])
    return output, torch.mean(scores, [1]) if average_attn_weights else scores


def torch.nn.functional.cosine_similarity(x1, x2, dim=1, eps=1e-8):
    return torch.cosine_similarity(x1, x2, dim, eps)


def torch.nn.functional.pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    return torch.pairwise_distance(x1, x2, p, eps, keepdim)
