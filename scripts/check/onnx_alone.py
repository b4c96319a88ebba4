"""The SQNR of one layer of a quantized ONNX model that is fed the float model's values; a module, not run.

The layer is what lies between values that `compare` has paired. Operators of codes are taken by their definition:
DequantizeLinear, the operator, QuantizeLinear; no kernel of a processor rounds in between.
"""

import re

import numpy
import onnx
import onnx_pairs


def plain(model):
    """The model with the operators of codes as their definition: DequantizeLinear, the operator, QuantizeLinear."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = []
    for node in model.graph.node:
        nodes.extend(PLAIN[node.op_type](node) if node.op_type in PLAIN else [node])
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def dequantized(node, value, scale, zero_point, parts, axis=0):
    """The name of the real value of codes, whose node is put behind `parts`."""
    name = f"{node.output[0]}/{value}/real"
    inputs = [value, scale, zero_point] if zero_point else [value, scale]
    parts.append(onnx.helper.make_node("DequantizeLinear", inputs, [name], axis=axis))
    return name


def put_plain(node, op_type, operands, scale, zero_point, domain="", dropped=(), bias=None):
    """`operands` are triples of codes, scale and zero point."""
    parts = []
    inputs = [dequantized(node, *operand, parts) for operand in operands] + ([bias] if bias else [])
    real = f"{node.output[0]}/real"
    whole = onnx.helper.make_node(op_type, inputs, [real], domain=domain)
    whole.attribute.extend(item for item in node.attribute if item.name not in dropped)
    parts += [whole, onnx.helper.make_node("QuantizeLinear", [real, scale, zero_point], [node.output[0]])]
    return parts


def plain_conv(node):
    i = node.input
    parts = []
    bias = None
    if len(i) > 8 and i[8]:
        both = f"{node.output[0]}/bias_scale"
        bias = f"{node.output[0]}/bias"
        parts = [onnx.helper.make_node("Mul", [i[1], i[4]], [both]), *real_bias(i[8], both, bias)]
    return parts + put_plain(node, "Conv", [i[0:3], i[3:6]], i[6], i[7], bias=bias)


def real_bias(codes, scale, name):
    cast = f"{name}/float"
    return [
        onnx.helper.make_node("Cast", [codes], [cast], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Mul", [cast, scale], [name]),
    ]


def plain_gemm(node):
    """The bias has the scale alpha × a × b, and the operator adds it as it is."""
    i = node.input
    alpha = next((item.f for item in node.attribute if item.name == "alpha"), 1.0)
    names = [f"{node.output[0]}/{part}" for part in ("alpha", "bias_scale", "scaled", "bias")]
    parts = [
        onnx.helper.make_node("Constant", [], [names[0]], value_float=alpha),
        onnx.helper.make_node("Mul", [i[1], i[4]], [names[1]]),
        onnx.helper.make_node("Mul", [names[1], names[0]], [names[2]]),
        *real_bias(i[6], names[2], names[3]),
    ]
    return parts + put_plain(node, "Gemm", [i[0:3], i[3:6]], i[7], i[8], bias=names[3])


def plain_of(op_type, operands, place, dropped=()):
    return lambda node: put_plain(
        node, op_type, [node.input[at : at + 3] for at in operands], node.input[place], node.input[place + 1], dropped=dropped
    )


def plain_concat(node):
    operands = [node.input[at : at + 3] for at in range(2, len(node.input), 3)]
    return put_plain(node, "Concat", operands, node.input[0], node.input[1])


PLAIN = {
    "QLinearConv": plain_conv,
    "QGemm": plain_gemm,
    "QLinearMatMul": plain_of("MatMul", (0, 3), 6),
    "QLinearAdd": plain_of("Add", (0, 3), 6),
    "QLinearMul": plain_of("Mul", (0, 3), 6),
    "QLinearSigmoid": plain_of("Sigmoid", (0,), 3),
    "QLinearLeakyRelu": plain_of("LeakyRelu", (0,), 3),
    "QLinearGlobalAveragePool": plain_of("GlobalAveragePool", (0,), 3, dropped=("channels_last",)),
    "QLinearSoftmax": plain_of("Softmax", (0,), 3, dropped=("opset",)),
    "QLinearConcat": plain_concat,
}


def entry_of(producers, name):
    """Where a value enters the candidate's next layers: in front of its QuantizeLinear; its codes where it has none."""
    while name in producers and producers[name].op_type in ("DequantizeLinear", "QuantizeLinear"):
        name = producers[name].input[0]
    return name


def cuts_of(model, target, known):
    """The known values that a value of the reference is computed from, and the inputs of the graph."""
    producers = {name: node for node in model.graph.node for name in node.output}
    found, waiting, seen = set(), list(producers[target].input), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in producers:
            continue
        seen.add(name)
        if name in known:
            found.add(name)
        else:
            waiting.extend(producers[name].input)
    return found


def alone_sqnr(ours, theirs, row, pairs, feed):
    """The SQNR of a layer of the candidate whose inputs are the reference's values."""
    model = plain(theirs.model)
    producers = {name: node for node in model.graph.node for name in node.output}
    cuts = sorted(cuts_of(ours.model, row["reference_value"], pairs.keys() - {row["reference_value"]}))
    given = dict(feed)
    values = ours.values([row["reference_value"], *cuts], feed)
    first = []
    for index, name in enumerate(cuts):
        entry, put = entry_of(producers, pairs[name]), f"alone/{index}"
        if entry in theirs.scales:
            codes = f"{put}/codes"
            first.append(onnx.helper.make_node("QuantizeLinear", [put, *theirs.scales[entry]], [codes]))
        else:
            codes = put
        for node in model.graph.node:
            node.input[:] = [codes if part == entry else part for part in node.input]
        array = values[name].astype(numpy.float32)
        model.graph.input.append(onnx.helper.make_tensor_value_info(put, onnx.TensorProto.FLOAT, array.shape))
        given[put] = array
    nodes = first + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    wanted = [row["candidate_value"], *theirs.scales.get(row["candidate_value"], ())]
    found = theirs.stored | onnx_pairs.values_of(model, [name for name in wanted if name not in theirs.stored], given)
    x, y = ours.real(row["reference_value"], values), theirs.real(row["candidate_value"], found)
    y = onnx_pairs.in_order(y, x.shape, row["order"])
    return onnx_pairs.expected_sqnr((x**2).sum(), ((x - y) ** 2).sum())


def is_dynamic(model):
    """Kernels of dynamic scales have no definition here."""
    return any(re.match("DynamicQuantize|MatMulInteger|ConvInteger", node.op_type) for node in model.graph.node)
