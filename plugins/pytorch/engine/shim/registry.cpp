// libtorch's registry of operators as models see it: forbidden operators fail whoever calls them, and the arguments
// of some allowed ones are checked.
//
// libtorch's compiler runs operators while it reads code: default values of arguments, and anything that depends only
// on constants. So the registry itself is changed, once, before the first file is read, and not only what comes out
// of the compiler. Calls from C++ use the dispatcher and are not affected.

#include "guard.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/csrc/jit/operator_upgraders/upgraders_entry.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace qp {

namespace {

namespace jit = torch::jit;
using c10::IValue;

// 1 if a model may call the operator with this name.
using Known = int (*)(const char* name);
Known known_operator = nullptr;

// The limit for bytes of a text, and elements of a list, that are created from numbers.
constexpr int64_t kMaxMade = 1 << 26;
constexpr int64_t kMaxWidth = 1 << 20;

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

// Checks the arguments of a call; throws what is wrong with them.
using Look = std::function<void(c10::ArrayRef<IValue> arguments)>;

void divide(const IValue& dividend, const IValue& divisor, bool takes_zero) {
  if (!dividend.isInt() || !divisor.isInt()) {
    return;
  }
  TORCH_CHECK(takes_zero || divisor.toInt() != 0, "integer division by zero");
  TORCH_CHECK(dividend.toInt() != kLeast || divisor.toInt() != -1, "the result of an integer division is too large");
}

// Whether an element of an integer tensor, or a number, is `wanted`, which is negative.
bool has(const IValue& value, int64_t wanted) {
  if (!value.isTensor()) {
    return value.isInt() && value.toInt() == wanted;
  }
  const at::Tensor& tensor = value.toTensor();
  int64_t least = 0;
  switch (tensor.scalar_type()) {
    case at::kLong: least = kLeast; break;
    case at::kInt: least = std::numeric_limits<int32_t>::min(); break;
    case at::kShort: least = std::numeric_limits<int16_t>::min(); break;
    case at::kChar: least = std::numeric_limits<int8_t>::min(); break;
    default: break;
  }
  return wanted >= least && tensor.eq(wanted).any().item<bool>();
}

bool is_whole(const IValue& value) {
  return value.isInt() || (value.isTensor() && value.toTensor().defined() &&
                           c10::isIntegralType(value.toTensor().scalar_type(), false) &&
                           value.toTensor().layout() == at::kStrided);
}

// The smallest number of a type divided by -1 has no result: the processor stops the process.
void divide_elements(const IValue& dividend, const IValue& divisor) {
  if (!is_whole(dividend) || !is_whole(divisor) || !has(divisor, -1)) {
    return;
  }
  const auto is_int = [](const IValue& value) {
    return !value.isTensor() || value.toTensor().scalar_type() != at::kLong;
  };
  const bool is_short = is_int(dividend) && is_int(divisor) && (dividend.isTensor() || divisor.isTensor());
  TORCH_CHECK(!has(dividend, kLeast) && !(is_short && has(dividend, std::numeric_limits<int32_t>::min())),
              "the result of an integer division is too large");
}

int64_t length(const IValue& value) {
  return value.isString() ? static_cast<int64_t>(value.toStringRef().size())
         : value.isList() ? static_cast<int64_t>(value.toListRef().size())
                          : 0;
}

// What is checked before an operator with this schema runs, besides numbers that encode something.
Look look_of(const c10::FunctionSchema& schema) {
  static const std::set<std::string> numbers = {"aten::floordiv", "aten::remainder", "aten::divmod",
                                                "aten::__round_to_zero_floordiv", "aten::fmod"};
  static const std::set<std::string> elements = {"aten::div",        "aten::div_",       "aten::divide",
                                                 "aten::divide_",    "aten::floor_divide", "aten::floor_divide_",
                                                 "aten::remainder",  "aten::remainder_", "aten::fmod",
                                                 "aten::fmod_",      "aten::gcd",        "aten::gcd_",
                                                 "aten::lcm",        "aten::lcm_",       "aten::floordiv"};
  static const std::set<std::string> widths = {"aten::ljust", "aten::rjust", "aten::center", "aten::zfill",
                                               "aten::expandtabs"};
  const std::string& name = schema.name();
  const auto& arguments = schema.arguments();
  const auto is = [&](size_t index, c10::TypeKind kind) {
    return index < arguments.size() && arguments[index].type()->kind() == kind;
  };
  const bool has_tensor = is(0, c10::TypeKind::TensorType) || is(1, c10::TypeKind::TensorType);
  const bool is_true_division = name.rfind("aten::div", 0) == 0 && schema.overload_name().find("mode") == std::string::npos;
  if (arguments.size() >= 2 && has_tensor && !is_true_division && elements.count(name) > 0) {
    return [](c10::ArrayRef<IValue> values) { divide_elements(values[0], values[1]); };
  }
  if (arguments.size() == 2 && !has_tensor && (numbers.count(name) > 0 || name == "aten::gcd")) {
    const bool takes_zero = name == "aten::gcd";
    return [takes_zero](c10::ArrayRef<IValue> values) { divide(values[0], values[1], takes_zero); };
  }
  if (name == "aten::__range_length" && arguments.size() == 3) {
    return [](c10::ArrayRef<IValue> values) {
      for (const IValue& value : values) {
        TORCH_CHECK(!value.isInt() || (value.toInt() > kLeast / 4 && value.toInt() < std::numeric_limits<int64_t>::max() / 4) ||
                        value.toInt() == std::numeric_limits<int64_t>::max(),
                    "a range has the bound ", value.toInt());
      }
    };
  }
  if (name == "aten::factorial" && is(0, c10::TypeKind::IntType)) {
    return [](c10::ArrayRef<IValue> values) {
      TORCH_CHECK(values[0].toInt() <= 1000, "the factorial of ", values[0].toInt(), " is too large");
    };
  }
  if (name == "prim::rangelist") {
    return [](c10::ArrayRef<IValue> values) {
      TORCH_CHECK(values[0].toInt() <= kMaxMade, "a list of ", values[0].toInt(), " numbers is too long");
    };
  }
  if (name == "aten::mul" && is(0, c10::TypeKind::ListType) && is(1, c10::TypeKind::IntType)) {
    return [](c10::ArrayRef<IValue> values) {
      TORCH_CHECK(values[1].toInt() <= kMaxMade / std::max<int64_t>(length(values[0]), 1), "a list that is repeated ",
                  values[1].toInt(), " times is too long");
    };
  }
  if (name == "aten::add" && (is(0, c10::TypeKind::StringType) || is(0, c10::TypeKind::ListType))) {
    return [](c10::ArrayRef<IValue> values) {
      TORCH_CHECK(length(values[0]) + length(values[1]) <= kMaxMade, "a text or list is too long");
    };
  }
  if (widths.count(name) > 0) {
    return [](c10::ArrayRef<IValue> values) {
      TORCH_CHECK(!values[1].isInt() || values[1].toInt() <= kMaxWidth, "a text of ", values[1].toInt(),
                  " characters is too long");
    };
  }
  return nullptr;
}

// The operator with checks before it; null if there is nothing to check.
std::optional<jit::Operator> checked(const jit::Operator& found) {
  const c10::FunctionSchema& schema = found.schema();
  if (schema.is_vararg() || !found.hasOperation()) {
    return std::nullopt;
  }
  std::vector<std::pair<size_t, Code>> codes;
  for (size_t index = 0; index < schema.arguments().size(); ++index) {
    const Code code = code_of(schema.arguments()[index]);
    if (code != Code::kNone) {
      codes.emplace_back(index, code);
    }
  }
  const Look look = look_of(schema);
  if (codes.empty() && !look) {
    return std::nullopt;
  }
  const size_t count = schema.arguments().size();
  const auto operation = [codes, look, count, inner = found.getOperation()](jit::Stack& stack) mutable {
    const c10::ArrayRef<IValue> arguments = jit::last(stack, count);
    for (const auto& [index, code] : codes) {
      const std::string wrong = wrong_code(code, arguments[index]);
      TORCH_CHECK(wrong.empty(), wrong);
    }
    if (look) {
      look(arguments);
    }
    inner(stack);
  };
  return jit::Operator(schema.name(), schema.overload_name(), schema.arguments(), schema.returns(), operation,
                       schema.aliasAnalysis());
}

// A version of the operator that fails. Operators that take and return anything are syntax, which is checked in the
// graph.
std::optional<jit::Operator> disabled(const jit::Operator& found) {
  const c10::FunctionSchema& schema = found.schema();
  if (schema.is_vararg() || schema.is_varret()) {
    return std::nullopt;
  }
  const std::string name = schema.name();
  return jit::Operator(
      name, schema.overload_name(), schema.arguments(), schema.returns(),
      [name](jit::Stack&) { refuse("operator", name, ""); }, schema.aliasAnalysis());
}

void restrict_registry() {
  // Graphs point to operators, which must never be freed.
  static auto* kept = new std::vector<std::shared_ptr<jit::Operator>>(jit::getAllOperators());
  std::set<c10::Symbol> names;
  for (const auto& found : *kept) {
    names.insert(c10::Symbol::fromQualString(found->schema().name()));
  }
  for (const c10::Symbol name : names) {
    const auto overloads = std::vector<std::shared_ptr<jit::Operator>>(jit::getAllOperatorsFor(name));
    const bool is_known = is_allowed(name);
    std::vector<std::optional<jit::Operator>> replaced;
    for (const auto& found : overloads) {
      replaced.push_back(is_known ? checked(*found) : disabled(*found));
    }
    const auto is_some = [](const auto& one) { return one.has_value(); };
    if (std::none_of(replaced.begin(), replaced.end(), is_some)) {
      continue;
    }
    // All of them, because their order decides which one a call means.
    for (const auto& found : overloads) {
      jit::deregisterOperator(found->schema());
    }
    for (size_t index = 0; index < overloads.size(); ++index) {
      jit::registerOperator(replaced[index] ? std::move(*replaced[index]) : jit::Operator(*overloads[index]));
    }
  }
}

}  // namespace

bool is_allowed(c10::Symbol name) {
  static std::mutex mutex;
  static auto* known = new std::unordered_map<c10::Symbol, bool>();
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known->find(name);
  if (found != known->end()) {
    return found->second;
  }
  const bool is_known = known_operator != nullptr && known_operator(name.toQualString()) == 1;
  known->emplace(name, is_known);
  return is_known;
}

Code code_of(const c10::Argument& argument) {
  c10::TypePtr type = argument.real_type();
  if (const auto optional = type->cast<c10::OptionalType>()) {
    type = optional->getElementType();
  }
  switch (type->kind()) {
    case c10::TypeKind::ScalarTypeType: return Code::kDtype;
    case c10::TypeKind::LayoutType: return Code::kLayout;
    case c10::TypeKind::MemoryFormatType: return Code::kMemoryFormat;
    case c10::TypeKind::DeviceObjType: return Code::kDevice;
    case c10::TypeKind::IntType: break;
    default: return Code::kNone;
  }
  const std::string& name = argument.name();
  const auto ends_with = [&](const std::string& end) {
    return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
  };
  return ends_with("dtype")           ? Code::kDtype
         : ends_with("memory_format") ? Code::kMemoryFormat
         : ends_with("layout")        ? Code::kLayout
                                      : Code::kNone;
}

std::string wrong_code(Code code, const IValue& value) {
  if (code == Code::kDevice) {
    return !value.isDevice() || value.toDevice().is_cpu() ? ""
                                                          : "the model requires the device `" + value.toDevice().str() +
                                                                "`, but qp runs on the CPU";
  }
  if (!value.isInt()) {
    return "";
  }
  const int64_t number = value.toInt();
  const auto within = [&](auto end) { return number >= 0 && number < static_cast<int64_t>(end); };
  switch (code) {
    case Code::kDtype:
      return within(c10::ScalarType::NumOptions) && number != static_cast<int64_t>(c10::ScalarType::Undefined)
                 ? ""
                 : "there is no dtype " + std::to_string(number);
    case Code::kLayout:
      return within(c10::Layout::NumOptions) ? "" : "there is no layout " + std::to_string(number);
    case Code::kMemoryFormat:
      return within(c10::MemoryFormat::NumOptions) ? "" : "there is no memory format " + std::to_string(number);
    default: return "";
  }
}

}  // namespace qp

extern "C" {

// Lets models call what `known` answers with 1, and nothing else. Must be called once, before any file is read.
char* qp_torch_restrict(int (*known)(const char* name)) noexcept {
  return guarded([&] {
    qp::known_operator = known;
    // What files of earlier versions need, in libtorch's own code.
    torch::jit::populate_upgraders_graph_map();
    qp::restrict_registry();
  });
}
}
