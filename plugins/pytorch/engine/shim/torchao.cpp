// The operators of `torchao` in exported programs, which libtorch lacks: torchao defines them in Python. Each is
// composed of the same ATen operators in the same order as there (`torchao/quantization/quant_primitives.py` of
// torchao 0.18), so that results agree to the last bit.
//
// real = (q - zero_point) * scale, one of each per block of the tensor. The block size says along every axis how many
// elements share one: (1, 64) is one scale per 64 elements of a row.

#include "codes.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace {

using at::IntArrayRef;
using at::Scalar;
using at::ScalarType;
using at::Tensor;
using OptionalScalar = std::optional<Scalar>;

// A view in which each block has its own axes.
struct Blocks {
  // The shape of the view, and the same with 1 along the axes of a block.
  std::vector<int64_t> shape;
  std::vector<int64_t> reduced;
  // The axes of a block.
  std::vector<int64_t> axes;

  Blocks(IntArrayRef block_size, IntArrayRef sizes) {
    TORCH_CHECK(block_size.size() == sizes.size(), "a block of ", block_size.size(), " dimensions does not fit a tensor of ",
                sizes.size());
    for (size_t axis = 0; axis < sizes.size(); ++axis) {
      const int64_t size = sizes[axis];
      const int64_t block = block_size[axis];
      TORCH_CHECK(block > 0, "a block has ", block, " elements along axis ", axis);
      if (block != size && block > 1) {
        TORCH_CHECK(size % block == 0, size, " elements along axis ", axis, " are not divisible into blocks of ~", block);
        shape.push_back(size / block);
        shape.push_back(block);
        axes.push_back(static_cast<int64_t>(shape.size()) - 1);
      } else {
        shape.push_back(size);
        if (block != 1) {
          axes.push_back(static_cast<int64_t>(shape.size()) - 1);
        }
      }
    }
    reduced = shape;
    for (const int64_t axis : axes) {
      reduced[static_cast<size_t>(axis)] = 1;
    }
  }
};

// The number of blocks along each axis.
std::vector<int64_t> block_counts(IntArrayRef block_size, IntArrayRef sizes) {
  std::vector<int64_t> counts;
  for (size_t axis = 0; axis < sizes.size(); ++axis) {
    counts.push_back(sizes[axis] / block_size[axis]);
  }
  return counts;
}

// The range of the codes: as given, or that of their type.
std::pair<Scalar, Scalar> range(const OptionalScalar& quant_min, const OptionalScalar& quant_max, ScalarType dtype) {
  const auto [least, most] = qp::bounds(dtype);
  const bool is_float = at::isFloatingType(dtype);
  const auto whole = [&](double bound) { return is_float ? Scalar(bound) : Scalar(static_cast<int64_t>(bound)); };
  const Scalar low = quant_min.value_or(whole(least));
  const Scalar high = quant_max.value_or(whole(most));
  qp::check_bounds(low.toDouble(), high.toDouble(), dtype);
  return {low, high};
}

void check_real(ScalarType dtype) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16,
              "real values are float32, float16 or bfloat16, not ", dtype);
}

Tensor quantize_affine(const Tensor& input, IntArrayRef block_size, const Tensor& scale,
                       const std::optional<Tensor>& zero_point, ScalarType output_dtype, const OptionalScalar& quant_min,
                       const OptionalScalar& quant_max) {
  const auto [low, high] = range(quant_min, quant_max, output_dtype);
  check_real(input.scalar_type());
  TORCH_CHECK(zero_point && zero_point->numel() > 0, "quantize_affine requires zero points");
  const Blocks blocks(block_size, input.sizes());
  const Tensor scaled = at::round(input.view(blocks.shape) * (1.0 / scale.view(blocks.reduced)));
  const Tensor codes = at::clamp(scaled + zero_point->view(blocks.reduced), low, high);
  return codes.view(input.sizes()).to(output_dtype);
}

Tensor dequantize_affine(const Tensor& input, IntArrayRef block_size, const Tensor& scale,
                         const std::optional<Tensor>& zero_point, ScalarType input_dtype,
                         const OptionalScalar& quant_min, const OptionalScalar& quant_max, ScalarType output_dtype) {
  TORCH_CHECK(input.scalar_type() == input_dtype, "expected codes of the type ", input_dtype, ", not ",
              input.scalar_type());
  check_real(output_dtype);
  range(quant_min, quant_max, input_dtype);
  const Blocks blocks(block_size, input.sizes());
  Tensor real = input.view(blocks.shape).to(output_dtype);
  if (zero_point) {
    real = real - zero_point->view(blocks.reduced).to(output_dtype);
  }
  return (real * scale.view(blocks.reduced)).view(input.sizes()).to(output_dtype);
}

std::tuple<Tensor, Tensor> choose_qparams_affine(const std::optional<Tensor>& given, const std::string& mapping_type,
                                                 IntArrayRef block_size, ScalarType target_dtype,
                                                 const OptionalScalar& quant_min, const OptionalScalar& quant_max,
                                                 std::optional<double> eps, std::optional<ScalarType> scale_dtype,
                                                 std::optional<ScalarType> zero_point_dtype, bool keepdim) {
  const auto [low, high] = range(quant_min, quant_max, target_dtype);
  TORCH_CHECK(given, "choose_qparams_affine requires a tensor");
  const Tensor& input = *given;
  check_real(input.scalar_type());
  const double least = low.toDouble();
  const double most = high.toDouble();
  double smallest = eps.value_or(0);
  if (!eps) {
    // The smallest normal number; float32 and bfloat16 have the same exponents.
    smallest = input.scalar_type() == at::kHalf ? 6.103515625e-05 : std::numeric_limits<float>::min();
  }
  const Blocks blocks(block_size, input.sizes());
  const Tensor view = input.view(blocks.shape);
  const Tensor bottom = at::amin(view, blocks.axes, keepdim);
  const Tensor top = at::amax(view, blocks.axes, keepdim);
  const Tensor negative = at::minimum(bottom, at::zeros_like(bottom));
  Tensor positive = at::maximum(top, at::zeros_like(top));
  Tensor scale;
  Tensor zero_point;
  if (mapping_type == "SYMMETRIC" || mapping_type == "SYMMETRIC_NO_CLIPPING_ERR") {
    if (mapping_type == "SYMMETRIC") {
      positive = at::maximum(-negative, positive);
      scale = positive / ((most - least) / 2);
    } else {
      const Tensor below = negative / least;
      const Tensor above = positive / most;
      scale = at::where(below > above, below, above);
    }
    zero_point = at::full_like(scale, static_cast<int64_t>((most + least + 1) / 2));
    scale = at::clamp(scale, smallest);
  } else {
    TORCH_CHECK(mapping_type == "ASYMMETRIC", "unknown mapping type `", mapping_type, "`");
    scale = at::clamp((positive - negative) / (most - least), smallest);
    zero_point = at::clamp(at::rsub(at::round(negative / scale), low), low, high);
    zero_point_dtype = zero_point_dtype.value_or(at::kInt);
  }
  if (keepdim) {
    const std::vector<int64_t> counts = block_counts(block_size, input.sizes());
    scale = scale.reshape(counts);
    zero_point = zero_point.reshape(counts);
  }
  return {scale.to(scale_dtype.value_or(input.scalar_type())),
          zero_point_dtype ? zero_point.to(*zero_point_dtype) : zero_point};
}

Tensor choose_scale_float8(const Tensor& input, IntArrayRef block_size, ScalarType float8_dtype, ScalarType scale_dtype,
                           std::optional<double> lower, std::optional<double> upper) {
  const Blocks blocks(block_size, input.sizes());
  Tensor largest = input.view(blocks.shape).abs().amax(blocks.axes, true);
  if (lower || upper) {
    const auto bound = [](std::optional<double> number) { return number ? OptionalScalar(*number) : std::nullopt; };
    largest = at::clamp(largest, bound(lower), bound(upper));
  }
  Tensor scale = (largest / qp::bounds(float8_dtype).second).reshape(block_counts(block_size, input.sizes()));
  if (scale_dtype != at::kFloat) {
    TORCH_CHECK(scale_dtype == at::kFloat8_e8m0fnu, "scales are float32 or float8_e8m0fnu, not ", scale_dtype);
    scale = at::exp2(at::round(at::log2(scale)));
  }
  return scale.to(at::kFloat);
}

// Scales repeated over their blocks; unchanged where ATen broadcasts them by itself.
Tensor spread(Tensor scale, IntArrayRef sizes) {
  bool is_broadcast = scale.numel() == 1;
  if (!is_broadcast && static_cast<size_t>(scale.dim()) == sizes.size()) {
    is_broadcast = true;
    for (size_t axis = 0; axis < sizes.size(); ++axis) {
      const int64_t count = scale.size(static_cast<int64_t>(axis));
      is_broadcast = is_broadcast && (count == 1 || count == sizes[axis]);
    }
  }
  if (is_broadcast) {
    return scale;
  }
  TORCH_CHECK(static_cast<size_t>(scale.dim()) == sizes.size(), "scales of ", scale.dim(),
              " dimensions do not fit a tensor of ", sizes.size());
  for (size_t axis = 0; axis < sizes.size(); ++axis) {
    const int64_t count = scale.size(static_cast<int64_t>(axis));
    TORCH_CHECK(count > 0 && sizes[axis] % count == 0, sizes[axis], " elements along axis ", axis, " are not divisible into ~",
                count, " blocks");
    if (sizes[axis] > count) {
      scale = scale.repeat_interleave(sizes[axis] / count, static_cast<int64_t>(axis));
    }
  }
  return scale;
}

Tensor quantize_affine_float8(const Tensor& input, const Tensor& scale, ScalarType float8_dtype) {
  const double most = qp::bounds(float8_dtype).second;
  const Tensor scaled = input.to(at::kFloat) / spread(scale, input.sizes());
  return scaled.clamp(-most, most).to(float8_dtype);
}

Tensor dequantize_affine_float8(const Tensor& input, const Tensor& scale, ScalarType output_dtype) {
  return (input.to(at::kFloat) * spread(scale, input.sizes())).to(output_dtype);
}

TORCH_LIBRARY_FRAGMENT(torchao, library) {
  library.def("quantize_affine(Tensor input, int[] block_size, Tensor scale, Tensor? zero_point, ScalarType output_dtype, "
              "Scalar? quant_min=None, Scalar? quant_max=None) -> Tensor", quantize_affine);
  library.def("dequantize_affine(Tensor input, int[] block_size, Tensor scale, Tensor? zero_point, ScalarType input_dtype, "
              "Scalar? quant_min=None, Scalar? quant_max=None, ScalarType output_dtype=6) -> Tensor", dequantize_affine);
  library.def("choose_qparams_affine(Tensor? input, str mapping_type, int[] block_size, ScalarType target_dtype, "
              "Scalar? quant_min=None, Scalar? quant_max=None, float? eps=None, ScalarType? scale_dtype=None, "
              "ScalarType? zero_point_dtype=None, bool keepdim=False) -> (Tensor, Tensor)", choose_qparams_affine);
  library.def("choose_scale_float8(Tensor tensor, int[] block_size, ScalarType float8_dtype=24, ScalarType scale_dtype=6, "
              "float? hp_value_lb=None, float? hp_value_ub=None) -> Tensor", choose_scale_float8);
  library.def("quantize_affine_float8_non_decomposed(Tensor tensor, Tensor scale, ScalarType float8_dtype=24) -> Tensor",
              quantize_affine_float8);
  library.def("dequantize_affine_float8_non_decomposed(Tensor tensor, Tensor scale, ScalarType output_dtype=6) -> Tensor",
              dequantize_affine_float8);
}

}  // namespace
