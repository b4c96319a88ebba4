// What the engine needs from libtorch and `tch` does not offer: running a TorchScript module layer by layer.
//
// No function throws. Those that can fail return a text, which the caller passes back to `qp_torch_free_text`, or a
// null pointer on success.

#include "module.h"
#include "run.h"

#include <ATen/Context.h>
#include <c10/util/Exception.h>
#include <c10/util/Logging.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/runtime/custom_operator.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/csrc/jit/runtime/print_handler.h>
#include <torch/version.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

thread_local Run* current_run = nullptr;

namespace {

namespace jit = torch::jit;

// Warnings are discarded: the screen belongs to the host.
class Silence final : public c10::WarningHandler {
 public:
  void process(const c10::Warning&) override {}
};

// The first tensor in a list.
std::optional<at::Tensor> first_tensor(const c10::IValue& list) {
  const auto elements = list.toList();
  return elements.empty() || !elements.get(0).isTensor() ? std::nullopt
                                                         : std::optional<at::Tensor>(elements.get(0).toTensor());
}

// Passes on the tensors in `value` in order, numbered from `part`. Anything else also has a number, and a list has as
// many as it has elements if `is_only`, otherwise one.
void give_parts(const c10::IValue& value, bool is_only, int64_t index, int64_t& part, Run& run) {
  if (value.isTensor()) {
    run.give(index, part++, nullptr, &value.toTensor());
  } else if (value.isNone()) {
    ++part;
  } else if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements()) {
      give_parts(element, false, index, part, run);
    }
  } else if (value.isList() && is_only) {
    for (const c10::IValue& element : value.toList().vec()) {
      give_parts(element, false, index, part, run);
    }
  } else if (value.isList()) {
    if (const auto tensor = first_tensor(value)) {
      run.give(index, part++, nullptr, &*tensor);
    }
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      give_parts(entry.value(), false, index, part, run);
    }
  }
}

// The operator that sees a value pass: when it is computed, before anything overwrites it.
void tap(jit::Stack& stack) {
  const bool is_only = jit::pop(stack).toBool();
  int64_t part = jit::pop(stack).toInt();
  const int64_t index = jit::pop(stack).toInt();
  const c10::IValue value = jit::pop(stack);
  Run* run = current_run;
  if (run == nullptr) {
    return;
  }
  if (static_cast<size_t>(index) < run->wanted_count && run->wanted[index] != 0) {
    give_parts(value, is_only, index, part, *run);
  } else {
    run->give(index, part, nullptr, nullptr);
  }
}

// The operator at the start of each loop iteration.
void alive(jit::Stack& stack) {
  const bool is_idle = jit::pop(stack).toBool();
  if (current_run != nullptr) {
    current_run->turn(is_idle);
  }
}

const jit::RegisterOperators registered(
    {jit::Operator("qp::tap(Any value, int index, int part, bool is_only) -> ()",
                   [](jit::Stack& stack) { tap(stack); }, c10::AliasAnalysisKind::CONSERVATIVE),
     jit::Operator("qp::alive(bool is_idle) -> ()", [](jit::Stack& stack) { alive(stack); },
                   c10::AliasAnalysisKind::CONSERVATIVE)});

// Passes on the tensors in the result of `forward`, with their names in dictionaries.
void flatten(const c10::IValue& value, const std::string* name, int64_t& count, Run& run) {
  const auto inner = [&](const std::string& step) { return name == nullptr ? step : *name + "." + step; };
  const auto give = [&](const at::Tensor& tensor) {
    run.give(count++, 0, name == nullptr ? nullptr : name->c_str(), &tensor);
  };
  const auto each = [&](const auto& elements) {
    int64_t index = 0;
    for (const auto& element : elements) {
      const std::string key = inner(std::to_string(index++));
      flatten(element, name == nullptr ? nullptr : &key, count, run);
    }
  };
  if (value.isNone()) {
    return;
  }
  if (value.isTensor()) {
    give(value.toTensor());
  } else if (value.isInt()) {
    give(at::scalar_tensor(value.toInt(), at::kLong));
  } else if (value.isDouble()) {
    give(at::scalar_tensor(value.toDouble(), at::kDouble));
  } else if (value.isBool()) {
    give(at::scalar_tensor(value.toBool(), at::kBool));
  } else if (value.isTuple()) {
    each(value.toTupleRef().elements());
  } else if (value.isList()) {
    each(value.toList().vec());
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      TORCH_CHECK(entry.key().isString() || entry.key().isInt(),
                  "`forward` returned a dictionary whose keys are not texts");
      const std::string key =
          inner(entry.key().isString() ? entry.key().toStringRef() : std::to_string(entry.key().toInt()));
      flatten(entry.value(), &key, count, run);
    }
  } else {
    TORCH_CHECK(false, "`forward` returned something other than tensors");
  }
}

// An argument of the type that `forward` declares: a tensor without dimensions for a number or a flag.
c10::IValue of_type(const at::Tensor& given, c10::TypePtr type) {
  if (const auto optional = type->cast<c10::OptionalType>()) {
    type = optional->getElementType();
  }
  switch (type->kind()) {
    case c10::TypeKind::IntType:
      return given.item().toLong();
    case c10::TypeKind::FloatType:
      return given.item().toDouble();
    case c10::TypeKind::BoolType:
      return given.item().toBool();
    case c10::TypeKind::NumberType:
      return given.item();
    default:
      return given;
  }
}

// The arguments for a module's `forward`: by name if its arguments have the names of the inputs, otherwise in order.
// Arguments that are not given have their default, or are none.
void by_name(const c10::FunctionSchema& schema, at::Tensor* const* inputs, const char* const* names, size_t count,
             jit::Stack& stack) {
  const auto& formal = schema.arguments();
  std::vector<bool> is_used(count, false);
  const auto find = [&](const std::string& name) {
    size_t index = 0;
    while (index < count && name != names[index]) {
      ++index;
    }
    return index;
  };
  size_t known = 0;
  for (size_t at = 1; at < formal.size(); ++at) {
    known += find(formal[at].name()) < count ? 1 : 0;
  }
  for (size_t at = 1; at < formal.size(); ++at) {
    const size_t index = known == count ? find(formal[at].name()) : at - 1;
    if (index < count) {
      is_used[index] = true;
      stack.emplace_back(of_type(*inputs[index], formal[at].type()));
    } else if (formal[at].default_value()) {
      stack.emplace_back(*formal[at].default_value());
    } else {
      TORCH_CHECK(formal[at].type()->kind() == c10::TypeKind::OptionalType, "no value is given for `",
                  formal[at].name(), "`");
      stack.emplace_back();
    }
  }
  TORCH_CHECK(std::all_of(is_used.begin(), is_used.end(), [](bool used) { return used; }),
              "`forward` takes ", formal.size() - 1, " arguments, but ", count, " are given");
}

// The arguments for the code.
jit::Stack arguments(const QpTorchModule& module, at::Tensor* const* inputs, const char* const* names, size_t count) {
  jit::Stack stack;
  stack.reserve(count + module.stored.size() + 1);
  if (module.module) {
    stack.emplace_back(module.module->_ivalue());
    by_name(module.module->get_method("forward").function().getSchema(), inputs, names, count, stack);
    module.module->get_method("forward").function().getSchema().checkAndNormalizeInputs(stack);
    return stack;
  }
  TORCH_CHECK(count == module.int_inputs.size(), "the program takes ", module.int_inputs.size(), " inputs");
  for (const Stored& stored : module.stored) {
    stack.emplace_back(stored.is_written ? c10::IValue(stored.value.toTensor().clone()) : stored.value);
  }
  for (size_t index = 0; index < count; ++index) {
    if (module.int_inputs[index]) {
      stack.emplace_back(inputs[index]->item().toLong());
    } else {
      stack.emplace_back(*inputs[index]);
    }
  }
  return stack;
}

}  // namespace

extern "C" {

// Silences the calling thread's warnings, and for all threads what a model prints and log messages below errors.
void qp_torch_silence() noexcept {
  // Never destroyed: threads of libtorch may warn until the process ends.
  static Silence* silence = new Silence();
  c10::WarningUtils::set_warning_handler(silence);
  FLAGS_caffe2_log_level = 3;
  jit::setPrintHandler([](const std::string&) {});
}

// Lets the C library keep freed memory of up to 64 MiB for the next tensor. Without it, each run returns the pages of
// its intermediate tensors and faults them in again: a third of the time of a small int8 network.
void qp_torch_keep_memory() noexcept {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
}

// The engine that runs quantized operators: a static text.
const char* qp_torch_quantized_engine() noexcept {
  try {
    switch (at::globalContext().qEngine()) {
      case at::QEngine::NoQEngine: return "none";
      case at::QEngine::FBGEMM: return "fbgemm";
      case at::QEngine::QNNPACK: return "qnnpack";
      case at::QEngine::ONEDNN: return "onednn";
      case at::QEngine::X86: return "x86";
    }
  } catch (...) {
  }
  return "unknown";
}

// The engines of quantized operators that can be chosen: a bit for each number of `c10::QEngine`.
uint32_t qp_torch_supported_engines() noexcept {
  uint32_t engines = 0;
  try {
    for (const at::QEngine engine : at::globalContext().supportedQEngines()) {
      engines |= 1U << static_cast<int>(engine);
    }
  } catch (...) {
  }
  return engines;
}

// Selects a supported engine; any other number changes nothing.
void qp_torch_choose_engine(int engine) noexcept {
  if (engine >= 0 && engine < 32 && (qp_torch_supported_engines() >> engine & 1U) != 0) {
    (void)guarded([&] { at::globalContext().setQEngine(static_cast<at::QEngine>(engine)); });
  }
}

// Converts the float tensors of a TorchScript module to the type with this number in `c10::ScalarType`.
char* qp_torch_convert(QpTorchModule* module, int kind) noexcept {
  return guarded([&] { module->module->to(static_cast<at::ScalarType>(kind)); });
}

// The version of libtorch that the engine was built with: a static text.
const char* qp_torch_version() noexcept { return TORCH_VERSION; }

// Whether a tensor is nested: each part has a shape, but the whole has none.
int qp_torch_is_nested(const at::Tensor* tensor) noexcept { return tensor->is_nested() ? 1 : 0; }

// Frees a text that a function of this file returned.
void qp_torch_free_text(char* text) noexcept { std::free(text); }

// Releases a module.
void qp_torch_release(QpTorchModule* module) noexcept {
  (void)guarded([&] { delete module; });
}

// Passes to `visit` the paths of all modules (kind 0), the names of the inputs (1), and in the order of execution
// what can be tapped: modules by their path (2), operators by the path of the module that calls them and their name
// (3). Any answer other than 0 stops it.
char* qp_torch_layers(const QpTorchModule* module, void* context,
                      int (*visit)(void* context, int kind, const char* scope, const char* name)) noexcept {
  const auto show = [&](int kind, const char* scope, const char* name) {
    TORCH_CHECK(visit(context, kind, scope, name) == 0, "stopped");
  };
  return guarded([&] {
    for (const auto& named : module->module->named_modules()) {
      show(0, named.name.c_str(), "");
    }
    const auto& arguments = module->module->get_method("forward").function().getSchema().arguments();
    for (size_t index = 1; index < arguments.size(); ++index) {
      show(1, "", arguments[index].name().c_str());
    }
    for (const Tapped& tapped : module->tapped) {
      show(tapped.operation.empty() ? 2 : 3, tapped.scope.c_str(), tapped.operation.c_str());
    }
  });
}

// Runs `forward` with `count` inputs with these names. What is tapped at an index where `wanted` is not 0 goes to
// `tapped` when it is computed; where nothing is wanted, `tapped` is called without a tensor. The results go to
// `output` with their index, and with a name if they come from a dictionary. Both own the tensors they get; any
// answer other than 0 ends the run with `*is_stopped` set. `*nanoseconds` is the time of `forward`, including that of
// `tapped`.
char* qp_torch_run(QpTorchModule* module, at::Tensor* const* inputs, const char* const* names, size_t count,
                   const uint8_t* wanted, size_t wanted_count, void* context, Receive tapped, Receive output, uint64_t* nanoseconds,
                   int* is_stopped) noexcept {
  Run run{wanted, wanted_count, context, tapped};
  char* error = guarded([&] {
    jit::Stack stack = arguments(*module, inputs, names, count);
    const auto start = std::chrono::steady_clock::now();
    {
      const Running running(run);
      // What the model forks runs here, where it can be seen and stopped.
      jit::InterpreterState(module->code, [](const std::function<void()>& work) { work(); }).run(stack);
    }
    const auto elapsed = std::chrono::steady_clock::now() - start;
    *nanoseconds = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count());
    run.receive = output;
    int64_t given = 0;
    flatten(jit::pop(stack), nullptr, given, run);
  });
  *is_stopped = run.is_stopped ? 1 : 0;
  return error;
}
}
