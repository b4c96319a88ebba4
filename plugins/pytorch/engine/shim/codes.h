// Which codes an element type can have, for the operators that quantize.

#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <limits>
#include <utility>

namespace qp {

// The smallest and the largest code of an element type.
inline std::pair<double, double> bounds(at::ScalarType dtype) {
  switch (dtype) {
    case at::kByte: return {0, 255};
    case at::kChar: return {-128, 127};
    case at::kUInt16: return {0, 65535};
    case at::kShort: return {-32768, 32767};
    case at::kInt: return {std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
    case at::kFloat8_e5m2: return {-57344, 57344};
    case at::kFloat8_e4m3fn: return {-448, 448};
    default: TORCH_CHECK(false, "invalid code type ~", dtype);
  }
}

template <typename Number>
void check_bounds(Number quant_min, Number quant_max, at::ScalarType dtype) {
  const auto [least, most] = bounds(dtype);
  TORCH_CHECK(static_cast<double>(quant_min) >= least && static_cast<double>(quant_max) <= most, "the codes ",
              quant_min, " to ", quant_max, " do not fit into ", dtype);
}

}  // namespace qp
