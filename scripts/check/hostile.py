#!/usr/bin/env python3
"""Makes small models that ask a native runtime for what it cannot do, and runs each in one session. Linux.

    hostile.py [--qp target/debug/qp] [--keep FOLDER] [--seconds 5] [NAME...]

TorchScript needs nothing, ONNX models need numpy and onnx; without them they are left out. After each model there may be one line of error at most, the
session must live, and a good model must give what it gave before. A model that does not come to an end within `--seconds` is ended with Ctrl-C.
"""

import argparse
import pathlib
import sys
import tempfile
import zipfile

from workers import try_all

# Bodies of `forward` in the code of TorchScript, over `x: Tensor` of shape [4, 4].
TORCHSCRIPT = {
    "remainder_zero": "return torch.remainder(torch.to(x, 4), torch.to(torch.zeros_like(x), 4))",
    "fmod_zero": "return torch.fmod(torch.to(x, 4), torch.to(torch.zeros_like(x), 4))",
    "modulo_of_numbers": "n = torch.dim(x)\n    return torch.add(x, torch.remainder(5, torch.sub(n, 2)))",
    "floordiv_of_numbers": "n = torch.sub(torch.dim(x), 2)\n    return torch.add(x, torch.floordiv(5, n))",
    "lowest_divided": "t = torch.full_like(torch.to(x, 4), -9223372036854775808)\n    return torch.floor_divide(t, torch.full_like(t, -1))",
    "lowest_remainder": "t = torch.full_like(torch.to(x, 4), -9223372036854775808)\n    return torch.remainder(t, torch.full_like(t, -1))",
    "gcd_of_lowest": "t = torch.full_like(torch.to(x, 4), -9223372036854775808)\n    return torch.gcd(t, torch.full_like(t, -1))",
    "shift_by_much": "t = torch.to(x, 4)\n    return torch.__lshift__(t, 100000)",
    "bincount_huge": "t = torch.full([4], 1099511627776, dtype=4)\n    return torch.bincount(t)",
    "empty_huge": "return torch.empty([1099511627776, 1024])",
    "overflowing_shape": "return torch.empty([4611686018427387904, 4])",
    "zeros_that_are_touched": "return torch.sum(torch.zeros([68719476736]))",
    "strided_outside": "return torch.add(torch.as_strided(x, [1048576], [1048576]), 1)",
    "strided_overflow": "return torch.add(torch.as_strided(x, [3, 3], [4611686018427387904, 4611686018427387904]), 1)",
    "negative_embedding": "i = torch.to(torch.full([4], -1000000000), 4)\n    return torch.embedding(x, i)",
    "index_far": "i = torch.to(torch.full([4], 1000000000000), 4)\n    return torch.index_select(x, 0, i)",
    "gather_far": "i = torch.to(torch.full([4, 4], 1000000000000), 4)\n    return torch.gather(x, 1, i)",
    "take_negative": "i = torch.to(torch.full([4], -1000000000000), 4)\n    return torch.take(x, i)",
    "pixel_shuffle_zero": "return torch.pixel_shuffle(torch.reshape(x, [1, 4, 2, 2]), 0)",
    "pixel_unshuffle_zero": "return torch.pixel_unshuffle(torch.reshape(x, [1, 4, 2, 2]), 0)",
    "channel_shuffle_zero": "return torch.channel_shuffle(torch.reshape(x, [1, 4, 2, 2]), 0)",
    "conv_groups_zero": "t = torch.reshape(x, [1, 4, 2, 2])\n    return torch.conv2d(t, torch.ones([4, 4, 1, 1]), None, [1, 1], [0, 0], [1, 1], 0)",
    "conv_stride_zero": "t = torch.reshape(x, [1, 4, 2, 2])\n    return torch.conv2d(t, torch.ones([4, 4, 1, 1]), None, [0, 0], [0, 0], [1, 1], 1)",
    "conv_padding_huge": "t = torch.reshape(x, [1, 4, 2, 2])\n    return torch.conv2d(t, torch.ones([4, 4, 1, 1]), None, [1, 1], [2147483648, 2147483648], [1, 1], 1)",
    "pool_stride_zero": "return torch.max_pool2d(torch.reshape(x, [1, 4, 2, 2]), [1, 1], [0, 0])",
    "pool_kernel_zero": "return torch.avg_pool2d(torch.reshape(x, [1, 4, 2, 2]), [0, 0], [1, 1])",
    "unpool_far": "t = torch.reshape(x, [1, 4, 2, 2])\n    i = torch.to(torch.full([1, 4, 2, 2], 1000000000), 4)\n    return torch.max_unpool2d(t, i, [4, 4])",
    "histc_no_bins": "return torch.histc(x, 0, 0., 1.)",
    "histc_huge": "return torch.histc(x, 1099511627776, 0., 1.)",
    "unfold_zero": "return torch.im2col(torch.reshape(x, [1, 4, 2, 2]), [1, 1], [1, 1], [0, 0], [0, 0])",
    "fold_zero": "return torch.col2im(x, [2, 2], [1, 1], [1, 1], [0, 0], [0, 0])",
    "upsample_huge": "return torch.upsample_nearest2d(torch.reshape(x, [1, 4, 2, 2]), [1048576, 1048576], None, None)",
    "repeat_huge": "return torch.repeat(x, [1048576, 1048576])",
    "repeat_negative": "return torch.repeat(x, [-1, 2])",
    "repeat_interleave_negative": "return torch.repeat_interleave(x, torch.to(torch.full([4], -5), 4), 0)",
    "ctc_far": "t = torch.to(torch.full([1, 4], 1000000), 4)\n    p = torch.reshape(x, [4, 1, 4])\n    n = torch.to(torch.full([1], 4), 4)\n    return torch.ctc_loss(p, t, n, n)",
    "nll_far": "t = torch.to(torch.full([4], 1000000), 4)\n    return torch.nll_loss(x, t)",
    "segment_far": "l = torch.to(torch.full([1], 1000000), 4)\n    return torch.segment_reduce(x, \"sum\", lengths=l, unsafe=True)",
    "sparse_far": "i = torch.to(torch.full([2, 4], 1000000000), 4)\n    t = torch._sparse_coo_tensor_unsafe(i, torch.ones([4]), [4, 4])\n    return torch.to_dense(t)",
    "index_put_unsafe": "i = torch.to(torch.full([4], 1000000000), 4)\n    return torch._index_put_impl_(x, [i], torch.ones([4, 4]), False, True)",
    "embedding_bag_far": "i = torch.to(torch.full([4], 1000000000), 4)\n    o = torch.to(torch.zeros([1]), 4)\n    a, b, c, d = torch._embedding_bag(x, i, o)\n    return a",
    "lstm_bad_weights": "h = torch.zeros([1, 4, 4])\n    a, b, c = torch.lstm(torch.reshape(x, [1, 4, 4]), [h, h], [x, x, x, x], False, 1, 0., False, False, False)\n    return a",
    "quantize_scale_zero": "return torch.dequantize(torch.quantize_per_tensor(x, 0., 0, 13))",
    "quantize_zero_point_far": "return torch.dequantize(torch.quantize_per_tensor(x, 0.1, 1000000000, 13))",
    "choose_of_nothing": "a, b = torch._choose_qparams_per_tensor(torch.empty([0]), False)\n    return torch.add(x, a)",
    "fake_quantize_axis_far": "s = torch.ones([4])\n    z = torch.to(torch.zeros([4]), 3)\n    return torch.fake_quantize_per_channel_affine(x, s, z, 1000000, 0, 255)",
    "fft_far": "return torch.abs(torch._fft_r2c(x, [1000000], 0, True))",
    "stft_zero": "return torch.stft(torch.reshape(x, [16]), 0, 0)",
    "cholesky_of_nan": "return torch.linalg_cholesky(torch.div(x, torch.zeros_like(x)))",
    "eig_of_nan": "return torch.linalg_eigvals(torch.div(torch.zeros_like(x), torch.zeros_like(x)))",
    "svd_of_inf": "a, b, c = torch.linalg_svd(torch.div(x, torch.zeros_like(x)))\n    return b",
    "matrix_power_huge": "return torch.matrix_power(x, 9223372036854775807)",
    "matrix_power_lowest": "return torch.matrix_power(x, -9223372036854775808)",
    "poisson_infinite": "return torch.poisson(torch.full_like(x, inf))",
    "binomial_nan": "return torch.binomial(torch.full_like(x, nan), torch.full_like(x, nan))",
    "multinomial_nan": "return torch.multinomial(torch.full_like(x, nan), 2)",
    "gamma_nan": "return torch._standard_gamma(torch.full_like(x, nan))",
    "roll_lowest": "return torch.roll(x, [-9223372036854775808], [0])",
    "rot90_huge": "return torch.rot90(x, 9223372036854775807, [0, 1])",
    "diag_far": "return torch.diag(torch.reshape(x, [16]), 1099511627776)",
    "tril_indices_huge": "return torch.tril_indices(1099511627776, 1099511627776, 0)",
    "combinations_huge": "return torch.combinations(torch.reshape(x, [16]), 1000)",
    "arange_huge": "return torch.arange(0, 1099511627776, 1)",
    "linspace_huge": "return torch.linspace(0, 1, 1099511627776)",
    "one_hot_huge": "return torch.one_hot(torch.to(torch.full([4], 1099511627776), 4), -1)",
    "cartesian": "return torch.cartesian_prod([torch.reshape(x, [16]), torch.reshape(x, [16]), torch.reshape(x, [16]), torch.reshape(x, [16]), torch.reshape(x, [16]), torch.reshape(x, [16]), torch.reshape(x, [16]), torch.reshape(x, [16]), torch.reshape(x, [16])])",
    "einsum_wide": "return torch.einsum(\"ab,cd,ef,gh,ij->abcdefghij\", [x, x, x, x, x])",
    "view_as_other": "return torch.view(torch.reshape(x, [16]), dtype=11)",
    "set_storage": "return torch.set_(x, torch.empty([0]), 1000000, [4], [1])",
    "resize_huge": "return torch.add(torch.resize_(x, [1099511627776]), 1)",
    "endless": "n = 0\n    b = True\n    while b:\n      n = torch.add(n, 1)\n    return x",
    "endless_printing": "b = True\n    while b:\n      print(\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\")\n    return x",
    "prints_escapes": "print(\"\\033[2J\\033]0;owned\\007\")\n    return x",
    "growing_list": "l = [x]\n    b = True\n    while b:\n      _0 = torch.append(l, torch.add(x, 1))\n    return x",
    "growing_text": "s = \"aaaaaaaa\"\n    b = True\n    while b:\n      s = torch.add(s, s)\n    return x",
    "growing_tensor": "t = x\n    b = True\n    while b:\n      t = torch.cat([t, t], 0)\n    return t",
    "raises": "ops.prim.RaiseException(\"no\")\n    return x",
    "raises_much": "s = \"line\\n\\033[2J \"\n    for i in range(20):\n      s = torch.add(s, s)\n    ops.prim.RaiseException(s)\n    return x",
    "gives_nothing": "return None",
    "gives_text": "return \"text\"",
    "gives_lists": "return [[x], [], [x, x]]",
    "uninitialized_division": "n = torch.item(torch.to(torch.sum(torch.zeros_like(x)), 4))\n    return torch.add(x, torch.floordiv(1, annotate(int, n)))",
}


def torchscript(path, body):
    """A module without attributes, by hand: what `torch.jit.save` writes, in format 3."""
    gives = "None" if body.endswith("return None") else "str" if body.endswith('"text"') else "List[List[Tensor]]" if "[[x]" in body else "Tensor"
    code = (
        "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n"
        f"  def forward(self: __torch__.M,\n    x: Tensor) -> {gives}:\n    {body}\n"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/version", "3\n")
        archive.writestr("m/byteorder", "little")
        archive.writestr("m/code/__torch__.py", code)
        archive.writestr("m/constants.pkl", b"\x80\x02).")
        archive.writestr("m/data.pkl", b"\x80\x02c__torch__\nM\nq\0)\x81}(X\x08\0\0\0trainingq\x01\x89ub.")


def onnx_models(folder):
    """Models of ONNX, over `x: float32[2, 4]`; none without numpy and onnx."""
    try:
        import numpy as np
        from onnx import TensorProto, helper, numpy_helper, save
    except ImportError:
        return
    node = helper.make_node
    float32, int64, int32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32

    def write(name, nodes, outputs, constants, kind=float32):
        constants = [numpy_helper.from_array(np.array(value), constant) for constant, value in constants.items()]
        values = [helper.make_tensor_value_info(output, kind, None) for output in outputs.split()]
        shape = [helper.make_tensor_value_info("x", float32, [2, 4])]
        graph = helper.make_graph(nodes, "graph", shape, values, constants)
        versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        save(helper.make_model(graph, opset_imports=versions, ir_version=8), folder / f"onnx_{name}.onnx")

    def one(name, op, inputs, constants, shape=None, to=None, outputs="y", kind=float32, **attributes):
        """A node `op` behind one that gives `r`: `x` in another shape or type."""
        if shape is not None:
            constants = dict(constants, shape=np.array(shape, np.int64))
            before = node("Reshape", ["x", "shape"], ["r"], name="before")
        elif to is not None:
            before = node("Cast", ["x"], ["r"], name="before", to=to)
        else:
            before = node("Relu", ["x"], ["r"], name="before")
        made = node(op, [("" if name == "-" else name) for name in inputs.split()], outputs.split(), name="asked", **attributes)
        write(name, [before, made], outputs, constants, kind)

    def whole(*values, dtype=np.int64):
        return np.array(values, dtype)

    def real(*shape):
        return np.ones(shape, np.float32)

    # Whole numbers by a zero that no optimizer knows.
    for name, op, dtype, kind in (
        ("divide_zero_64", "Div", np.int64, int64), ("mod_zero_64", "Mod", np.int64, int64), ("mod_zero_32", "Mod", np.int32, int32),
        ("divide_zero_8", "Div", np.int8, TensorProto.INT8),
    ):
        nodes = [
            node("Mul", ["x", "none"], ["m"], name="none_of_it"), node("Cast", ["m"], ["z"], name="whole", to=kind),
            node(op, ["one", "z"], ["y"], name="asked"),
        ]
        write(name, nodes, "y", {"none": np.zeros(1, np.float32), "one": np.ones(1, dtype)}, kind)

    body_ends = [
        helper.make_tensor_value_info("i", int64, []), helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v", float32, None),
    ]
    body_gives = [helper.make_tensor_value_info("c2", TensorProto.BOOL, []), helper.make_tensor_value_info("v2", float32, None)]
    for name, step in (("endless", node("Add", ["v", "v"], ["v2"])), ("growing", node("Concat", ["v", "v"], ["v2"], axis=0))):
        body = helper.make_graph([node("Identity", ["c"], ["c2"]), step], "body", body_ends, body_gives)
        one(name, "Loop", "- yes r", {"yes": np.array(True)}, body=body)

    far = 2**62
    one("fill_huge", "ConstantOfShape", "s", {"s": whole(2**31, 2**31)})
    one("range_huge", "Range", "a b c", {"a": np.array(0), "b": np.array(2**60), "c": np.array(1)}, kind=int64)
    one("tile_huge", "Tile", "r s", {"s": whole(2**20, 2**18)})
    one("expand_huge", "Expand", "r s", {"s": whole(2**34, 2, 4)})
    one("depth_zero", "DepthToSpace", "r", {}, shape=[1, 8, 1, 1], blocksize=0)
    one("depth_negative", "DepthToSpace", "r", {}, shape=[1, 8, 1, 1], blocksize=-2)
    one("space_zero", "SpaceToDepth", "r", {}, shape=[1, 2, 2, 2], blocksize=0)
    one("conv_groups_zero", "Conv", "r w", {"w": real(8, 8, 1, 1)}, shape=[1, 8, 1, 1], group=0)
    one("conv_groups_negative", "Conv", "r w", {"w": real(8, 8, 1, 1)}, shape=[1, 8, 1, 1], group=-8)
    one("conv_stride_zero", "Conv", "r w", {"w": real(8, 8, 1, 1)}, shape=[1, 8, 1, 1], strides=[0, 0])
    one("conv_padding_huge", "Conv", "r w", {"w": real(8, 8, 1, 1)}, shape=[1, 8, 1, 1], pads=[far] * 4)
    one("transposed_groups_zero", "ConvTranspose", "r w", {"w": real(8, 8, 1, 1)}, shape=[1, 8, 1, 1], group=0)
    one("transposed_stride_zero", "ConvTranspose", "r w", {"w": real(8, 8, 1, 1)}, shape=[1, 8, 1, 1], strides=[0, 0])
    one("pool_stride_zero", "MaxPool", "r", {}, shape=[1, 8, 1, 1], kernel_shape=[1, 1], strides=[0, 0])
    one("pool_kernel_zero", "AveragePool", "r", {}, shape=[1, 8, 1, 1], kernel_shape=[0, 0])
    one("lp_of_zero", "LpPool", "r", {}, shape=[1, 8, 1, 1], kernel_shape=[1, 1], p=0)
    one("unpool_far", "MaxUnpool", "r i", {"i": whole(*[far] * 8).reshape(1, 8, 1, 1)}, shape=[1, 8, 1, 1], kernel_shape=[1, 1])
    one("dequantize_axis_far", "DequantizeLinear", "r s z", {"s": real(3), "z": np.zeros(3, np.uint8)}, to=TensorProto.UINT8, axis=7)
    one("lstm_lengths", "LSTM", "r w w2 - l", {"w": real(1, 12, 4), "w2": real(1, 12, 3), "l": whole(-5, dtype=np.int32)},
        shape=[2, 1, 4], hidden_size=3)
    one("rnn_length_huge", "RNN", "r w w2 - l", {"w": real(1, 3, 4), "w2": real(1, 3, 3), "l": whole(10**9, dtype=np.int32)},
        shape=[2, 1, 4], hidden_size=3)
    one("gather_far", "GatherElements", "r i", {"i": whole(-(10**9), 0, 5, 6).reshape(2, 2)}, axis=1)
    one("gather_nd_negative", "GatherND", "r i", {"i": whole(-far, far).reshape(1, 2)}, batch_dims=0)
    one("scatter_far", "ScatterND", "r i u", {"i": whole(far, 0).reshape(1, 2), "u": real(1)})
    one("scatter_elements_far", "ScatterElements", "r i u", {"i": whole(-far, far).reshape(2, 1), "u": real(2, 1)}, axis=1)
    one("one_hot_huge", "OneHot", "r d v", {"d": np.array(2**40), "v": real(2)}, to=int64)
    one("one_hot_negative", "OneHot", "r d v", {"d": np.array(-4), "v": real(2)}, to=int64)
    one("top_k_huge", "TopK", "r k", {"k": whole(2**40)}, outputs="y i")
    one("top_k_negative", "TopK", "r k", {"k": whole(-1)}, outputs="y i")
    one("resize_huge", "Resize", "r - s", {"s": np.array([1, 1, 0, 1e9], np.float32)}, shape=[1, 2, 2, 2])
    one("resize_nan", "Resize", "r - s", {"s": np.array([1, 1, np.nan, np.inf], np.float32)}, shape=[1, 2, 2, 2])
    one("grid_of_nan", "GridSample", "r g", {"g": np.full((1, 2, 2, 2), np.nan, np.float32)}, shape=[1, 2, 2, 2])
    one("roi_huge", "RoiAlign", "r b i", {"b": np.array([[0, 0, 1e9, 1e9]], np.float32), "i": whole(7)}, shape=[1, 2, 2, 2],
        output_height=2**20, output_width=2**20)
    one("roi_pool_zero", "MaxRoiPool", "r b", {"b": np.array([[9, 0, 0, 1e9, 1e9]], np.float32)}, shape=[1, 2, 2, 2], pooled_shape=[0, 0])
    one("einsum_wide", "Einsum", "r r", {}, equation="ij,kl->ijklmnop")
    one("pad_negative", "Pad", "r p", {"p": whole(-5, -5, -5, -5)})
    one("pad_huge", "Pad", "r p", {"p": whole(far, far, far, far)})
    one("pad_reflected", "Pad", "r p", {"p": whole(100, 100, 100, 100)}, mode="reflect")
    one("slice_lowest", "Slice", "r a b c d", {"a": whole(-(2**63)), "b": whole(2**63 - 1), "c": whole(0), "d": whole(-(2**63))})
    one("boxes_huge", "NonMaxSuppression", "r s n", {"s": real(1, 2, 2), "n": whole(far)}, shape=[1, 2, 4], kind=int64)
    one("reversed_far", "ReverseSequence", "r l", {"l": whole(-7, 9, 1, 2)})
    one("stft_no_step", "STFT", "r f - l", {"f": np.array(0), "l": np.array(4)}, shape=[1, 8, 1])
    one("stft_negative_step", "STFT", "r f - l", {"f": np.array(-1), "l": np.array(4)}, shape=[1, 8, 1])
    one("dft_length_huge", "DFT", "r l", {"l": np.array(2**40)}, shape=[1, 8, 1])
    one("window_negative", "HannWindow", "l", {"l": np.array(-1)})
    one("mel_of_nothing", "MelWeightMatrix", "a b c d e", {"a": np.array(0), "b": np.array(0), "c": np.array(0), "d": np.array(0.0, np.float32),
        "e": np.array(0.0, np.float32)})
    one("split_negative", "Split", "r s", {"s": whole(-2, 6)}, axis=1, outputs="y z")
    one("compress_long", "Compress", "r c", {"c": np.ones(1000, bool)}, axis=0)
    one("cum_sum_far", "CumSum", "r a", {"a": np.array(1000)})
    one("trilu_far", "Trilu", "r k", {"k": np.array(-(2**63))})
    one("squeeze_lowest", "Squeeze", "r a", {"a": whole(-(2**63))})
    one("unsqueeze_far", "Unsqueeze", "r a", {"a": whole(2**40)})
    one("reshape_overflow", "Reshape", "r s", {"s": whole(far, 4, -1)})
    one("multinomial_nan", "Multinomial", "r", {}, sample_size=2**31 - 1, kind=int32)
    one("lrn_of_zero", "LRN", "r", {}, shape=[1, 8, 1, 1], size=0)
    one("groups_of_zero", "GroupNormalization", "r s b", {"s": real(8), "b": real(8)}, shape=[1, 8, 1, 1], num_groups=0)
    one("layer_axis_far", "LayerNormalization", "r s", {"s": real(4)}, axis=100)
    one("embedded", "EmbedLayerNormalization", "r - w p - g b", {"w": real(4, 4), "p": real(1, 4), "g": real(4), "b": real(4)}, to=int32,
        domain="com.microsoft")
    one("rotary_far", "RotaryEmbedding", "r p c c", {"p": whole(10**9, -(10**9)).reshape(1, 2), "c": real(2, 2)}, shape=[1, 2, 4],
        domain="com.microsoft")
    one("bits_of_huge", "MatMulNBits", "r b s", {"b": np.zeros((2, 1, 8), np.uint8), "s": real(2)}, domain="com.microsoft", K=4, N=2**28,
        bits=4, block_size=16)
    one("bits_of_none", "MatMulNBits", "r b s", {"b": np.zeros((2, 1, 8), np.uint8), "s": real(2)}, domain="com.microsoft", K=4, N=2,
        bits=4, block_size=0)
    one("heads_zero", "Attention", "r w b", {"w": real(4, 12), "b": real(12)}, shape=[1, 2, 4], domain="com.microsoft", num_heads=0)
    one("heads_of_many", "MultiHeadAttention", "r r r", {}, shape=[1, 2, 4], domain="com.microsoft", num_heads=0)
    one("groups_of_queries", "GroupQueryAttention", "r r r - - l n", {"l": whole(10**9, dtype=np.int32), "n": np.array(10**9, np.int32)},
        shape=[1, 2, 4], domain="com.microsoft", num_heads=1, kv_num_heads=1, outputs="y k v")
    one("packed_far", "QMoE", "r r w s", {"w": np.zeros((1, 1, 1), np.uint8), "s": real(1, 1)}, domain="com.microsoft", k=0)
    one("average_of_bytes", "QLinearGlobalAveragePool", "r s z s z", {"s": np.array(0, np.float32), "z": np.array(0, np.uint8)},
        shape=[1, 8, 1, 1], domain="com.microsoft", channels_last=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qp", default="target/debug/qp")
    parser.add_argument("--keep", type=pathlib.Path, help="where to leave the models")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    own = tempfile.TemporaryDirectory()
    folder = options.keep or pathlib.Path(own.name)
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in TORCHSCRIPT.items():
        torchscript(folder / f"torch_{name}.pt", body)
    onnx_models(folder)
    lines = []
    for path in sorted([*folder.glob("*.pt"), *folder.glob("*.onnx")]):
        if not options.names or {path.name, path.stem} & set(options.names):
            shape = "4,4" if path.suffix == ".pt" else "2,4"
            lines.append((path.name, f"load {path}; input random --shape {shape} --seed 1; run"))
    sys.exit(try_all(str(pathlib.Path(options.qp).resolve()), folder, lines, options.seconds) > 0)


if __name__ == "__main__":
    main()
