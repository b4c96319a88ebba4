// The operators of `quantized_decomposed`, which PT2E quantization leaves in exported programs and libtorch lacks:
// PyTorch defines them in Python. Each is composed of the same ATen operators in the same order as the reference
// (`torch/ao/quantization/fx/_decomposed.py` of PyTorch 2.13), so that results agree to the last bit.
//
// real = (q - zero_point) * scale. A "token" is all axes but the last, a "group" a number of elements along the last
// one.

#include "codes.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

namespace {

using at::ScalarType;
using at::Tensor;
using qp::bounds;
using qp::check_bounds;

Tensor as_float(const Tensor& input) {
  const bool is_narrow = input.scalar_type() == at::kHalf || input.scalar_type() == at::kBFloat16;
  const Tensor wide = is_narrow ? input.to(at::kFloat) : input;
  TORCH_CHECK(wide.scalar_type() == at::kFloat, "only float32 can be quantized, not ~", wide.scalar_type());
  return wide;
}

double number(const Tensor& tensor) {
  TORCH_CHECK(tensor.numel() == 1, "expected one number, not ~", tensor.numel());
  return tensor.item().toDouble();
}

int64_t whole_number(const Tensor& tensor) {
  TORCH_CHECK(tensor.numel() == 1, "expected one number, not ~", tensor.numel());
  return tensor.item().toLong();
}

Tensor quantize_per_tensor(const Tensor& input, double scale, int64_t zero_point, int64_t quant_min,
                           int64_t quant_max, ScalarType dtype) {
  const Tensor wide = as_float(input);
  check_bounds(quant_min, quant_max, dtype);
  return at::clamp(at::round(wide * (1.0 / scale)) + zero_point, quant_min, quant_max).to(dtype);
}

Tensor quantize_per_tensor_tensor(const Tensor& input, const Tensor& scale, const Tensor& zero_point,
                                  int64_t quant_min, int64_t quant_max, ScalarType dtype) {
  return quantize_per_tensor(input, number(scale), whole_number(zero_point), quant_min, quant_max, dtype);
}

Tensor quantize_per_tensor_tensor2(const Tensor& input, const Tensor& scale, const Tensor& zero_point,
                                   const Tensor& quant_min, const Tensor& quant_max, ScalarType dtype) {
  return quantize_per_tensor(input, number(scale), whole_number(zero_point), whole_number(quant_min),
                             whole_number(quant_max), dtype);
}

Tensor dequantize_per_tensor(const Tensor& input, double scale, int64_t zero_point, int64_t /*quant_min*/,
                             int64_t /*quant_max*/, ScalarType dtype, std::optional<ScalarType> out_dtype) {
  TORCH_CHECK(input.scalar_type() == dtype, "expected codes of the type ", dtype, ", not ", input.scalar_type());
  bounds(dtype);
  return (input.to(out_dtype.value_or(at::kFloat)) - zero_point) * scale;
}

Tensor dequantize_per_tensor_tensor(const Tensor& input, const Tensor& scale, const Tensor& zero_point,
                                    int64_t quant_min, int64_t quant_max, ScalarType dtype,
                                    std::optional<ScalarType> out_dtype) {
  return dequantize_per_tensor(input, number(scale), whole_number(zero_point), quant_min, quant_max, dtype,
                               out_dtype);
}

Tensor dequantize_per_tensor_tensor2(const Tensor& input, const Tensor& scale, const Tensor& zero_point,
                                     const Tensor& quant_min, const Tensor& quant_max, ScalarType dtype,
                                     std::optional<ScalarType> out_dtype) {
  return dequantize_per_tensor(input, number(scale), whole_number(zero_point), whole_number(quant_min),
                               whole_number(quant_max), dtype, out_dtype);
}

// `tensor` with `axis` and the first axis swapped; a second call swaps them back.
Tensor exchanged(const Tensor& tensor, int64_t axis) {
  TORCH_CHECK(axis >= 0 && axis < tensor.dim(), "there is no axis ", axis, " in ", tensor.dim(), " dimensions");
  std::vector<int64_t> axes(static_cast<size_t>(tensor.dim()));
  for (size_t index = 0; index < axes.size(); ++index) {
    axes[index] = static_cast<int64_t>(index);
  }
  std::swap(axes[0], axes[static_cast<size_t>(axis)]);
  return tensor.permute(axes);
}

// One number per index of the first axis, shaped to broadcast over the others.
Tensor along_first(const Tensor& numbers, const Tensor& tensor) {
  std::vector<int64_t> shape(static_cast<size_t>(tensor.dim()), 1);
  shape[0] = numbers.size(0);
  return numbers.view(shape);
}

Tensor quantize_per_channel(const Tensor& input, const Tensor& scales, const Tensor& zero_points, int64_t axis,
                            int64_t quant_min, int64_t quant_max, ScalarType dtype) {
  check_bounds(quant_min, quant_max, dtype);
  const Tensor channels = exchanged(as_float(input), axis);
  const Tensor scaled = at::round(channels * (1.0 / along_first(scales, channels)));
  const Tensor codes = at::clamp(scaled + along_first(zero_points, channels), quant_min, quant_max);
  return exchanged(codes, axis).to(dtype);
}

Tensor dequantize_per_channel(const Tensor& input, const Tensor& scales, const std::optional<Tensor>& zero_points,
                              int64_t axis, int64_t quant_min, int64_t quant_max, ScalarType dtype,
                              std::optional<ScalarType> out_dtype) {
  TORCH_CHECK(input.scalar_type() == dtype, "expected codes of the type ", dtype, ", not ", input.scalar_type());
  check_bounds(quant_min, quant_max, dtype);
  const Tensor channels = exchanged(input, axis);
  const Tensor spread = along_first(scales, channels);
  const Tensor real = zero_points ? (channels - along_first(*zero_points, channels)) * spread : channels * spread;
  return exchanged(real.to(out_dtype.value_or(at::kFloat)), axis);
}

// Scale and zero point of a whole tensor from its smallest and largest element.
std::tuple<Tensor, Tensor> chosen(const Tensor& input, int64_t quant_min, int64_t quant_max, double eps,
                                  ScalarType dtype, bool is_symmetric) {
  TORCH_CHECK(at::isFloatingType(input.scalar_type()) && input.scalar_type() != at::kDouble,
              "scales are chosen for float32, float16 and bfloat16, not ", input.scalar_type());
  bounds(dtype);
  TORCH_CHECK(quant_min <= 0 && quant_max >= 0 && quant_min < quant_max, "the codes ", quant_min, " to ", quant_max,
              " do not include zero");
  const auto [least, most] = at::aminmax(input);
  const bool is_unset = std::isinf(least.item().toDouble()) && least.item().toDouble() > 0 &&
                        std::isinf(most.item().toDouble()) && most.item().toDouble() < 0;
  if (input.numel() == 0 || is_unset) {
    return {at::ones({1}), at::zeros({1}, at::kLong)};
  }
  const Tensor smallest = at::scalar_tensor(eps, at::kFloat);
  const Tensor negative = at::minimum(least, at::zeros_like(least));
  Tensor positive = at::maximum(most, at::zeros_like(most));
  Tensor scale;
  Tensor zero_point = at::zeros({}, at::kLong);
  if (is_symmetric) {
    positive = at::maximum(-negative, positive);
    scale = at::maximum(positive / (static_cast<double>(quant_max - quant_min) / 2), smallest);
    if (dtype == at::kByte) {
      zero_point = at::full({}, 128, at::kLong);
    }
  } else {
    scale = at::maximum((positive - negative) / static_cast<double>(quant_max - quant_min), smallest);
    zero_point = at::clamp(quant_min - at::round(negative / scale).to(at::kInt), quant_min, quant_max);
  }
  return {scale.reshape({1}).to(at::kDouble), zero_point.reshape({1}).to(at::kLong)};
}

std::tuple<Tensor, Tensor> choose_qparams(const Tensor& input, int64_t quant_min, int64_t quant_max, double eps,
                                          ScalarType dtype) {
  return chosen(input, quant_min, quant_max, eps, dtype, false);
}

std::tuple<Tensor, Tensor> choose_qparams_symmetric(const Tensor& input, int64_t quant_min, int64_t quant_max,
                                                    double eps, ScalarType dtype) {
  return chosen(input, quant_min, quant_max, eps, dtype, true);
}

std::tuple<Tensor, Tensor> choose_qparams_per_token(const Tensor& input, ScalarType dtype) {
  TORCH_CHECK(dtype == at::kChar, "scales for each token are chosen for int8, not ", dtype);
  Tensor scales = input.abs().amax({-1}, true);
  if (scales.scalar_type() == at::kHalf) {
    scales = scales.to(at::kFloat);
  }
  scales = scales.clamp(1e-5, std::nullopt).div(127);
  return {scales, at::zeros_like(scales)};
}

std::tuple<Tensor, Tensor> choose_qparams_per_token_asymmetric(const Tensor& input, ScalarType /*dtype*/) {
  constexpr double kMin = -128;
  constexpr double kMax = 127;
  const Tensor least = at::amin(input, {-1}, true);
  const Tensor most = at::amax(input, {-1}, true);
  const Tensor negative = at::minimum(least, at::zeros_like(least));
  const Tensor positive = at::maximum(most, at::zeros_like(most));
  const Tensor scale =
      ((positive - negative) / (kMax - kMin)).clamp(std::numeric_limits<float>::epsilon(), std::nullopt);
  const Tensor low = negative / scale;
  const Tensor high = positive / scale;
  // The end of the range with the smaller error fixes the zero point.
  const Tensor zero_point = at::where((low + kMin) + (high + kMax) > 0, kMin - low, kMax - high);
  return {scale.to(at::kDouble), at::clamp(zero_point, kMin, kMax).round().to(at::kLong)};
}

Tensor quantize_per_token(const Tensor& input, const Tensor& scales, const Tensor& zero_points, int64_t quant_min,
                          int64_t quant_max, ScalarType dtype) {
  check_bounds(quant_min, quant_max, dtype);
  const int64_t tokens = input.dim() == 0 ? 1 : c10::multiply_integers(input.sizes().slice(0, input.dim() - 1));
  TORCH_CHECK(tokens == scales.numel() && tokens == zero_points.numel(), tokens, " tokens have ", scales.numel(),
              " scales and ", zero_points.numel(), " zero points");
  return input.mul(1.0 / scales).add(zero_points).round().clamp(quant_min, quant_max).to(dtype);
}

Tensor dequantize_per_token(const Tensor& input, const Tensor& scales, const Tensor& zero_points,
                            int64_t /*quant_min*/, int64_t /*quant_max*/, ScalarType /*dtype*/,
                            ScalarType output_dtype) {
  return ((input - zero_points) * scales).to(output_dtype);
}

// The size of a group, checked. One scale may stand for a row that is shorter than a group.
int64_t group(const Tensor& matrix, const Tensor& scales, int64_t size) {
  TORCH_CHECK(matrix.dim() == 2, "groups are those of a matrix, not of ", matrix.dim(), " dimensions");
  const int64_t columns = matrix.size(1);
  if (scales.dim() > 0 && size > columns && scales.size(-1) == 1) {
    size = columns;
  }
  TORCH_CHECK(size > 1 && columns % size == 0, columns, " columns are not divisible into groups of ~", size);
  return size;
}

Tensor quantize_per_channel_group(const Tensor& input, const Tensor& scales, const Tensor& zero_points,
                                  int64_t quant_min, int64_t quant_max, ScalarType dtype, int64_t group_size) {
  const Tensor groups = input.reshape({-1, group(input, scales, group_size)});
  TORCH_CHECK(!at::isnan(groups).any().item().toBool(), "the values to quantize contain a NaN");
  const Tensor scaled = groups.mul(1.0 / scales.reshape({-1, 1})).add(zero_points.reshape({-1, 1}));
  return scaled.round().clamp(quant_min, quant_max).to(dtype).reshape_as(input);
}

Tensor dequantize_per_channel_group(const Tensor& input, const Tensor& scales,
                                    const std::optional<Tensor>& zero_points, int64_t /*quant_min*/,
                                    int64_t /*quant_max*/, ScalarType /*dtype*/, int64_t group_size,
                                    ScalarType output_dtype) {
  const Tensor groups = input.reshape({-1, group(input, scales, group_size)});
  const Tensor offsets = zero_points ? zero_points->reshape({-1, 1}) : at::zeros({}, at::kInt);
  return groups.sub(offsets).mul(scales.reshape({-1, 1})).reshape_as(input).to(output_dtype);
}

Tensor fake_quant_per_channel(const Tensor& input, const Tensor& scales, const Tensor& zero_points, int64_t axis,
                              int64_t quant_min, int64_t quant_max) {
  TORCH_CHECK(input.scalar_type() == at::kFloat, "only float32 can be quantized, not ~", input.scalar_type());
  TORCH_CHECK(axis >= 0 && axis < input.dim(), "there is no axis ", axis, " in ", input.dim(), " dimensions");
  std::vector<int64_t> shape(static_cast<size_t>(input.dim()), 1);
  shape[static_cast<size_t>(axis)] = -1;
  const Tensor spread = scales.to(at::kFloat).reshape(shape);
  const Tensor offsets = zero_points.to(at::kInt).reshape(shape);
  const Tensor codes = at::round(input * (1.0 / spread)) + offsets;
  return (at::clamp(codes, quant_min, quant_max) - offsets) * spread;
}

Tensor convert_element_type(const Tensor& input, ScalarType dtype) { return input.to(dtype); }

TORCH_LIBRARY_FRAGMENT(quantized_decomposed, library) {
  library.def("quantize_per_tensor(Tensor input, float scale, int zero_point, int quant_min, int quant_max, "
              "ScalarType dtype) -> Tensor", quantize_per_tensor);
  library.def("quantize_per_tensor.tensor(Tensor input, Tensor scale, Tensor zero_point, int quant_min, "
              "int quant_max, ScalarType dtype) -> Tensor", quantize_per_tensor_tensor);
  library.def("quantize_per_tensor.tensor2(Tensor input, Tensor scale, Tensor zero_point, Tensor quant_min, "
              "Tensor quant_max, ScalarType dtype) -> Tensor", quantize_per_tensor_tensor2);
  library.def("dequantize_per_tensor(Tensor input, float scale, int zero_point, int quant_min, int quant_max, "
              "ScalarType dtype, *, ScalarType? out_dtype=None) -> Tensor", dequantize_per_tensor);
  library.def("dequantize_per_tensor.tensor(Tensor input, Tensor scale, Tensor zero_point, int quant_min, "
              "int quant_max, ScalarType dtype, *, ScalarType? out_dtype=None) -> Tensor",
              dequantize_per_tensor_tensor);
  library.def("dequantize_per_tensor.tensor2(Tensor input, Tensor scale, Tensor zero_point, Tensor quant_min, "
              "Tensor quant_max, ScalarType dtype, *, ScalarType? out_dtype=None) -> Tensor",
              dequantize_per_tensor_tensor2);
  library.def("choose_qparams.tensor(Tensor input, int quant_min, int quant_max, float eps, ScalarType dtype) -> "
              "(Tensor, Tensor)", choose_qparams);
  library.def("choose_qparams_symmetric.tensor(Tensor input, int quant_min, int quant_max, float eps, "
              "ScalarType dtype) -> (Tensor, Tensor)", choose_qparams_symmetric);
  library.def("quantize_per_channel(Tensor input, Tensor scales, Tensor zero_points, int axis, int quant_min, "
              "int quant_max, ScalarType dtype) -> Tensor", quantize_per_channel);
  library.def("dequantize_per_channel(Tensor input, Tensor scales, Tensor? zero_points, int axis, int quant_min, "
              "int quant_max, ScalarType dtype, *, ScalarType? out_dtype=None) -> Tensor", dequantize_per_channel);
  library.def("choose_qparams_per_token(Tensor input, ScalarType dtype) -> (Tensor, Tensor)",
              choose_qparams_per_token);
  library.def("_choose_qparams_per_token_asymmetric_impl(Tensor input, ScalarType dtype) -> (Tensor, Tensor)",
              choose_qparams_per_token_asymmetric);
  library.def("choose_qparams_per_token_asymmetric(Tensor input, ScalarType dtype) -> (Tensor, Tensor)",
              choose_qparams_per_token_asymmetric);
  library.def("quantize_per_token(Tensor input, Tensor scales, Tensor zero_points, int quant_min, int quant_max, "
              "ScalarType dtype) -> Tensor", quantize_per_token);
  library.def("dequantize_per_token(Tensor input, Tensor scales, Tensor zero_points, int quant_min, int quant_max, "
              "ScalarType dtype, ScalarType output_dtype) -> Tensor", dequantize_per_token);
  library.def("quantize_per_channel_group(Tensor input, Tensor scales, Tensor zero_points, int quant_min, "
              "int quant_max, ScalarType dtype, int group_size) -> Tensor", quantize_per_channel_group);
  library.def("dequantize_per_channel_group(Tensor input, Tensor scales, Tensor? zero_points, int quant_min, "
              "int quant_max, ScalarType dtype, int group_size, ScalarType output_dtype) -> Tensor",
              dequantize_per_channel_group);
  library.def("fake_quant_per_channel(Tensor input, Tensor scales, Tensor zero_points, int axis, int quant_min, "
              "int quant_max) -> Tensor", fake_quant_per_channel);
  library.def("convert_element_type.no_fuse(Tensor input, ScalarType dtype) -> Tensor", convert_element_type);
}

}  // namespace
