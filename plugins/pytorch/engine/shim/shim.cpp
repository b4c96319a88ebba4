// What the engine needs of libtorch and `tch` does not offer: running a TorchScript module layer by layer.
//
// No function throws. Those that can fail return a text, which the caller gives back to `qp_torch_free_text`, or a
// null pointer when all went well.

#include "module.h"

#include <ATen/Context.h>
#include <c10/util/Exception.h>
#include <c10/util/Logging.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/custom_operator.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/version.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace {

namespace jit = torch::jit;
namespace prim = c10::prim;

constexpr int kMaxDepth = 64;
constexpr int kMaxNodes = 1 << 20;

// Warnings go nowhere: the screen belongs to the host.
class Silence final : public c10::WarningHandler {
 public:
  void process(const c10::Warning&) override {}
};

// The caller's function for a tensor, which it owns from then on. Another answer than 0 ends the run.
using Receive = int (*)(void* context, int64_t index, const char* name, at::Tensor* tensor);

// A run under way on this thread.
struct Run {
  const uint8_t* wanted;
  size_t wanted_count;
  void* context;
  // Called with a null tensor where nothing is wanted: the moment to stop.
  Receive receive;
  bool is_stopped = false;

  void give(int64_t index, const char* name, const at::Tensor* tensor) {
    at::Tensor* owned = tensor == nullptr ? nullptr : new at::Tensor(*tensor);
    if (receive(context, index, name, owned) != 0) {
      is_stopped = true;
      throw std::runtime_error("stopped");
    }
  }
};

thread_local Run* current_run = nullptr;

// The first tensor in `value`, if there is one.
std::optional<at::Tensor> first_tensor(const c10::IValue& value) {
  if (value.isTensor()) {
    return value.toTensor();
  }
  if (value.isTensorList() && value.toTensorList().size() > 0) {
    return value.toTensorList().get(0);
  }
  if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements()) {
      if (auto tensor = first_tensor(element)) {
        return tensor;
      }
    }
  }
  return std::nullopt;
}

// The operator that sees a value as it passes by: in the moment it is computed, before anything overwrites it.
void tap(jit::Stack& stack) {
  const int64_t index = jit::pop(stack).toInt();
  const c10::IValue value = jit::pop(stack);
  Run* run = current_run;
  if (run == nullptr) {
    return;
  }
  const bool is_wanted = static_cast<size_t>(index) < run->wanted_count && run->wanted[index] != 0;
  const auto tensor = is_wanted ? first_tensor(value) : std::nullopt;
  run->give(index, nullptr, tensor ? &*tensor : nullptr);
}

const jit::RegisterOperators registered({jit::Operator(
    "qp::tap(Any value, int index) -> ()", [](jit::Stack& stack) { tap(stack); },
    c10::AliasAnalysisKind::CONSERVATIVE)});

// Puts taps into the graph of `forward`: after each module without modules of its own, and after each operator
// that another module calls. Calls of modules with children are inlined on the way.
class Tapper {
 public:
  Tapper(jit::Module module, std::shared_ptr<jit::Graph> graph)
      : module_(std::move(module)), graph_(std::move(graph)) {}

  std::vector<Tapped> run() {
    walk(graph_->param_node()->next(), graph_->return_node(), "", 0);
    return std::move(tapped_);
  }

 private:
  void walk(jit::Node* first, jit::Node* end, const std::string& scope, int depth) {
    for (jit::Node* node = first; node != end;) {
      jit::Node* next = node->next();
      TORCH_CHECK(++nodes_ < kMaxNodes, "the graph of `forward` is too large to be followed");
      if (node->kind() == prim::CallMethod) {
        call(node, next, scope, depth);
      } else if (node->kind() == prim::CallFunction) {
        const auto type = node->input(0)->type()->cast<c10::FunctionType>();
        if (type && gives_tensor(node) && takes_tensor(node)) {
          const std::string name = type->function()->qualname().name();
          add(node, {scope, name});
        }
      } else if (!node->kind().is_prim() && gives_tensor(node) && takes_tensor(node)) {
        add(node, {scope, node->kind().toUnqualString()});
      }
      node = next;
    }
  }

  void call(jit::Node* node, jit::Node* next, const std::string& scope, int depth) {
    const auto path = path_of(node->input(0));
    const auto type = node->input(0)->type()->cast<c10::ClassType>();
    if (!path || !type || !type->is_module()) {
      return;
    }
    const bool is_own_method = *path == scope;
    if (!is_own_method && is_layer(*path)) {
      if (node->outputs().size() > 0 && node->output(0)->type()->kind() != c10::TypeKind::NoneType) {
        add(node, {*path, ""});
      }
      return;
    }
    auto* callee = jit::tryToGraphFunction(type->getMethod(node->s(c10::attr::name)));
    if (callee == nullptr || depth >= kMaxDepth) {
      return;
    }
    jit::Node* before = node->prev();
    jit::inlineCallTo(node, callee);
    walk(before->next(), next, *path, depth + 1);
  }

  void add(jit::Node* node, Tapped tapped) {
    const jit::WithInsertPoint guard(node->next());
    jit::Value* index = graph_->insertConstant(static_cast<int64_t>(tapped_.size()));
    graph_->insertNode(graph_->create(c10::Symbol::fromQualString("qp::tap"), {node->output(0), index}, 0));
    tapped_.push_back(std::move(tapped));
  }

  static bool is_tensor(const jit::Value* value) {
    const auto& type = value->type();
    if (type->kind() == c10::TypeKind::ListType) {
      return type->expectRef<c10::ListType>().getElementType()->kind() == c10::TypeKind::TensorType;
    }
    return type->kind() == c10::TypeKind::TensorType;
  }

  static bool gives_tensor(const jit::Node* node) {
    return node->outputs().size() > 0 && is_tensor(node->output(0));
  }

  static bool takes_tensor(const jit::Node* node) {
    const auto inputs = node->inputs();
    return std::any_of(inputs.begin(), inputs.end(), is_tensor);
  }

  // The path of a module that is reached from the root by its attributes.
  std::optional<std::string> path_of(const jit::Value* value) const {
    std::string path;
    for (int steps = 0; steps < 4096; ++steps) {
      if (value == graph_->inputs().at(0)) {
        return path;
      }
      const jit::Node* node = value->node();
      if (node->kind() != prim::GetAttr) {
        return std::nullopt;
      }
      const std::string& name = node->s(c10::attr::name);
      path = path.empty() ? name : name + "." + path;
      value = node->input(0);
    }
    return std::nullopt;
  }

  // Whether a module is one layer: nothing within it is tapped.
  bool is_layer(const std::string& path) const {
    jit::Module module = module_;
    for (size_t from = 0; from < path.size();) {
      const size_t to = std::min(path.find('.', from), path.size());
      module = module.attr(path.substr(from, to - from)).toModule();
      from = to + 1;
    }
    if (module.type()->name()->qualifiedName().find("functional_modules") != std::string::npos) {
      return true;
    }
    for (const jit::Module& child : module.children()) {
      if (child.type()->name()->name() != "LinearPackedParams") {
        return false;
      }
    }
    return true;
  }

  jit::Module module_;
  std::shared_ptr<jit::Graph> graph_;
  std::vector<Tapped> tapped_;
  int nodes_ = 0;
};

// Gives the tensors in what `forward` returned, with the names that dictionaries give them.
void flatten(const c10::IValue& value, const std::string* name, int64_t& count, Run& run) {
  const auto inner = [&](const std::string& step) { return name == nullptr ? step : *name + "." + step; };
  const auto give = [&](const at::Tensor& tensor) {
    run.give(count++, name == nullptr ? nullptr : name->c_str(), &tensor);
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
                  "`forward` returned a dictionary whose keys are no texts");
      const std::string key =
          inner(entry.key().isString() ? entry.key().toStringRef() : std::to_string(entry.key().toInt()));
      flatten(entry.value(), &key, count, run);
    }
  } else {
    TORCH_CHECK(false, "`forward` returned something that is no tensor");
  }
}

// What the code is called with.
jit::Stack arguments(const QpTorchModule& module, at::Tensor* const* inputs, size_t count) {
  jit::Stack stack;
  stack.reserve(count + module.stored.size() + 1);
  if (module.module) {
    stack.emplace_back(module.module->_ivalue());
    for (size_t index = 0; index < count; ++index) {
      stack.emplace_back(*inputs[index]);
    }
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

// Silences the warnings of the calling thread, and the log of all threads below errors.
void qp_torch_silence() noexcept {
  // Never destroyed: threads of libtorch may warn until the process ends.
  static Silence* silence = new Silence();
  c10::WarningUtils::set_warning_handler(silence);
  FLAGS_caffe2_log_level = 3;
}

// Lets the C library keep freed memory of up to 64 MiB for the next tensor. Without it, each run gives the pages of its
// intermediate tensors back and faults them in again: a third of the time of a small int8 network.
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

// Chooses an engine that is supported; any other number changes nothing.
void qp_torch_choose_engine(int engine) noexcept {
  if (engine >= 0 && engine < 32 && (qp_torch_supported_engines() >> engine & 1U) != 0) {
    (void)guarded([&] { at::globalContext().setQEngine(static_cast<at::QEngine>(engine)); });
  }
}

// Turns the float tensors of a TorchScript module into those of the type with that number in `c10::ScalarType`.
char* qp_torch_convert(QpTorchModule* module, int kind) noexcept {
  return guarded([&] { module->module->to(static_cast<at::ScalarType>(kind)); });
}

// The version of libtorch that the engine was built with: a static text.
const char* qp_torch_version() noexcept { return TORCH_VERSION; }

// Frees a text that a function of this file returned.
void qp_torch_free_text(char* text) noexcept { std::free(text); }

// Loads the TorchScript archive at `path` (UTF-8) into `*loaded`, which the caller releases.
char* qp_torch_load(const char* path, QpTorchModule** loaded) noexcept {
  return guarded([&] {
    jit::Module module = jit::load(std::string(path), at::kCPU);
    module.eval();
    const jit::Method forward = module.get_method("forward");
    const auto graph = jit::toGraphFunction(forward.function()).graph()->copy();
    std::vector<Tapped> tapped = Tapper(module, graph).run();
    jit::Inline(*graph);
    jit::Code code(graph, "forward");
    *loaded = new QpTorchModule{std::move(module), std::move(code), std::move(tapped), {}, {}};
  });
}

// Releases a module.
void qp_torch_release(QpTorchModule* module) noexcept {
  (void)guarded([&] { delete module; });
}

// Tells `visit` the paths of all modules (kind 0), the names of the inputs (1), and in the order of execution what
// can be tapped: modules by their path (2), operators by the path of the module that calls them and their name (3).
char* qp_torch_layers(const QpTorchModule* module, void* context,
                      void (*visit)(void* context, int kind, const char* scope, const char* name)) noexcept {
  return guarded([&] {
    for (const auto& named : module->module->named_modules()) {
      visit(context, 0, named.name.c_str(), "");
    }
    const auto& arguments = module->module->get_method("forward").function().getSchema().arguments();
    for (size_t index = 1; index < arguments.size(); ++index) {
      visit(context, 1, "", arguments[index].name().c_str());
    }
    for (const Tapped& tapped : module->tapped) {
      visit(context, tapped.operation.empty() ? 2 : 3, tapped.scope.c_str(), tapped.operation.c_str());
    }
  });
}

// Runs `forward` with `count` inputs. What is tapped at an index where `wanted` is not 0 goes to `tapped`, in the
// moment it is computed; where nothing is wanted, `tapped` is called without a tensor. The results go to `output`
// with their index, and with a name if they come from a dictionary. Both own the tensors they get; another answer
// than 0 ends the run with `*is_stopped` set. `*nanoseconds` is the time of `forward`, that of `tapped` included.
char* qp_torch_run(QpTorchModule* module, at::Tensor* const* inputs, size_t count, const uint8_t* wanted,
                   size_t wanted_count, void* context, Receive tapped, Receive output, uint64_t* nanoseconds,
                   int* is_stopped) noexcept {
  Run run{wanted, wanted_count, context, tapped};
  char* error = guarded([&] {
    jit::Stack stack = arguments(*module, inputs, count);
    const auto start = std::chrono::steady_clock::now();
    current_run = &run;
    jit::InterpreterState(module->code).run(stack);
    current_run = nullptr;
    const auto elapsed = std::chrono::steady_clock::now() - start;
    *nanoseconds = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count());
    run.receive = output;
    int64_t given = 0;
    flatten(jit::pop(stack), nullptr, given, run);
  });
  current_run = nullptr;
  *is_stopped = run.is_stopped ? 1 : 0;
  return error;
}
}
