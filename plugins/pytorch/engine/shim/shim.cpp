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
#include <torch/csrc/jit/runtime/print_handler.h>
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
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace {

namespace jit = torch::jit;
namespace prim = c10::prim;

constexpr int kMaxDepth = 64;
constexpr int kMaxModules = 128;
constexpr int kMaxNodes = 1 << 20;

// Warnings go nowhere: the screen belongs to the host.
class Silence final : public c10::WarningHandler {
 public:
  void process(const c10::Warning&) override {}
};

// The caller's function for a tensor, which it owns from then on: that of part `part` of what is tapped at `index`.
// Another answer than 0 ends the run.
using Receive = int (*)(void* context, int64_t index, int64_t part, const char* name, at::Tensor* tensor);

// A run under way on this thread.
struct Run {
  const uint8_t* wanted;
  size_t wanted_count;
  void* context;
  // Called with a null tensor where nothing is wanted: the moment to stop.
  Receive receive;
  bool is_stopped = false;

  void give(int64_t index, int64_t part, const char* name, const at::Tensor* tensor) {
    at::Tensor* owned = tensor == nullptr ? nullptr : new at::Tensor(*tensor);
    if (receive(context, index, part, name, owned) != 0) {
      is_stopped = true;
      throw std::runtime_error("stopped");
    }
  }
};

thread_local Run* current_run = nullptr;

// The first tensor in a list.
std::optional<at::Tensor> first_tensor(const c10::IValue& list) {
  const auto elements = list.toList();
  return elements.empty() || !elements.get(0).isTensor() ? std::nullopt
                                                         : std::optional<at::Tensor>(elements.get(0).toTensor());
}

// Gives the tensors in `value` in order, with their numbers from `part` on. What is none has a number, too, and a list
// has as many as it has elements if `is_only`, else one.
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

// The operator that sees a value as it passes by: in the moment it is computed, before anything overwrites it.
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

const jit::RegisterOperators registered({jit::Operator(
    "qp::tap(Any value, int index, int part, bool is_only) -> ()", [](jit::Stack& stack) { tap(stack); },
    c10::AliasAnalysisKind::CONSERVATIVE)});

// Whether a value of that type holds a tensor; with `or_none` also if it may be none.
bool has_tensor(const c10::Type& type, bool or_none, int depth = 0) {
  if (type.kind() == c10::TypeKind::TensorType) {
    return true;
  }
  const bool is_container = type.kind() == c10::TypeKind::ListType || type.kind() == c10::TypeKind::TupleType ||
                            type.kind() == c10::TypeKind::DictType ||
                            (or_none && type.kind() == c10::TypeKind::OptionalType);
  const auto contained = is_container ? type.containedTypes() : c10::ArrayRef<c10::TypePtr>();
  return depth < 16 && std::any_of(contained.begin(), contained.end(), [&](const c10::TypePtr& inner) {
           return has_tensor(*inner, or_none, depth + 1);
         });
}

// How many numbers the tensors in a value of that type get.
int64_t count_parts(const c10::Type& type, int depth = 0) {
  if (type.kind() == c10::TypeKind::TupleType && depth < 16) {
    int64_t count = 0;
    for (const c10::TypePtr& inner : type.containedTypes()) {
      count += count_parts(*inner, depth + 1);
    }
    return count;
  }
  return has_tensor(type, true) || type.kind() == c10::TypeKind::NoneType ? 1 : 0;
}

// Whether a class or function is a library's, so that it is one layer whatever it computes: an fx module has the code
// of a user's model. The same list is in `src/torchscript/class.rs` of the plugin.
bool is_library(const std::string& qualified) {
  constexpr const char* kRoot = "__torch__.";
  const size_t start = qualified.rfind(kRoot, 0) == 0 ? std::strlen(kRoot) : 0;
  const auto is_in = [&](const char* package) { return qualified.compare(start, std::strlen(package), package) == 0; };
  if (is_in("torch.fx.")) {
    return false;
  }
  return is_in("torch.") || is_in("torchvision.ops.") || is_in("torchao.") || is_in("onnx2torch.");
}

// Whether a class of a library is one layer although it holds modules, which it never calls; as in `class.rs`, too.
bool is_whole(const std::string& qualified) {
  for (const char* part :
       {"functional_modules", "torch.nn.modules.activation.", "torch.ao.nn.quantized.dynamic.modules.rnn"}) {
    if (qualified.find(part) != std::string::npos) {
      return true;
    }
  }
  return false;
}

// Puts taps into the graph of `forward`, by the rules of `src/torchscript/forward.rs` in the plugin: behind each module
// of a library that has no modules of its own, each operator and function that another module calls, and each `if` and
// loop. Calls of other modules and functions are inlined on the way.
class Tapper {
 public:
  Tapper(jit::Module module, std::shared_ptr<jit::Graph> graph)
      : module_(std::move(module)), graph_(std::move(graph)) {
    read_modules(module_, "", 0);
  }

  std::vector<Tapped> run() {
    walk(graph_->param_node()->next(), graph_->return_node(), "", 0);
    return std::move(tapped_);
  }

 private:
  // The path by which each module is known, and the attributes that some method sets.
  void read_modules(const jit::Module& module, const std::string& path, int depth) {
    TORCH_CHECK(depth <= kMaxModules, "the modules are nested too deep");
    if (!paths_.emplace(module._ivalue().get(), path).second) {
      return;
    }
    for (const jit::Method& method : module.get_methods()) {
      auto* function = method.name() == "__setstate__" ? nullptr : jit::tryToGraphFunction(method.function());
      if (function != nullptr && read_.insert(function).second) {
        read_attributes(function->graph()->block());
      }
    }
    for (const auto& child : module.named_children()) {
      read_modules(child.value, path.empty() ? child.name : path + "." + child.name, depth + 1);
    }
  }

  void read_attributes(const jit::Block* block) {
    for (const jit::Node* node : block->nodes()) {
      if (node->kind() == prim::SetAttr) {
        mutable_.insert(node->s(c10::attr::name));
      }
      for (const jit::Block* inner : node->blocks()) {
        read_attributes(inner);
      }
    }
  }

  void walk(jit::Node* first, jit::Node* end, const std::string& scope, int depth) {
    for (jit::Node* node = first; node != end;) {
      jit::Node* next = node->next();
      TORCH_CHECK(++nodes_ < kMaxNodes, "the graph of `forward` is too large to be followed");
      if (node->kind() == prim::CallMethod) {
        call(node, next, scope, depth);
      } else if (node->kind() == prim::CallFunction) {
        call_function(node, next, scope, depth);
      } else if (node->kind() == prim::If) {
        branch(node, scope, depth);
      } else if (node->kind() == prim::Loop) {
        add(node, scope, "loop");
      } else if (!node->kind().is_prim() && !is_container(node) && takes_tensor(node)) {
        add(node, scope, node->kind().toUnqualString());
      }
      node = next;
    }
  }

  // Of an `if` whose condition is known beforehand, the branch that is taken stands where the `if` stands.
  void branch(jit::Node* node, const std::string& scope, int depth) {
    const auto condition = flag_of(node->input(0), 0);
    if (!condition) {
      add(node, scope, "if");
      return;
    }
    jit::Block* taken = node->blocks().at(*condition ? 0 : 1);
    walk(taken->nodes().begin() == taken->nodes().end() ? taken->return_node() : *taken->nodes().begin(),
         taken->return_node(), scope, depth);
    for (size_t index = 0; index < node->outputs().size(); ++index) {
      same_.emplace(node->output(index), taken->outputs().at(index));
    }
  }

  void call(jit::Node* node, jit::Node* next, const std::string& scope, int depth) {
    const auto path = path_of(node->input(0));
    const auto type = node->input(0)->type()->cast<c10::ClassType>();
    if (!path || !type || !type->is_module()) {
      return;
    }
    const bool is_own_method = *path == scope;
    auto* callee = jit::tryToGraphFunction(type->getMethod(node->s(c10::attr::name)));
    const bool has_children = !is_own_method && holds_modules(*path);
    if (!is_own_method && (callee == nullptr || is_layer(*type, has_children))) {
      add(node, *path, "");
      return;
    }
    if (callee == nullptr || depth >= kMaxDepth) {
      return;
    }
    if (is_own_method || has_children) {
      inlined(node, next, callee, *path, depth);
      return;
    }
    // What a module of the user's own returns: the tap follows the value while the calls are inlined.
    const bool is_tapped = has_tensor(*node->output(0)->type(), false);
    jit::Node* anchor = is_tapped ? insert_tap(node->output(0), next, 0, 0, true) : nullptr;
    const size_t start = tapped_.size();
    inlined(node, anchor == nullptr ? next : anchor, callee, *path, depth);
    if (anchor != nullptr) {
      returned(anchor, start, *path);
    }
  }

  // The operator that computes what the module returns is the module; if there is no such one, the module hands on
  // what others compute.
  void returned(jit::Node* anchor, size_t start, const std::string& path) {
    const auto found = index_.find(source_of(anchor->input(0)));
    if (found != index_.end() && found->second >= start) {
      Tapped& last = tapped_.at(found->second);
      if (last.scope == path && !last.operation.empty() && last.values == 1) {
        last.operation.clear();
        anchor->destroy();
        return;
      }
    }
    const jit::WithInsertPoint guard(anchor);
    anchor->replaceInput(1, graph_->insertConstant(static_cast<int64_t>(tapped_.size())));
    tapped_.push_back({path, "", 1});
  }

  void call_function(jit::Node* node, jit::Node* next, const std::string& scope, int depth) {
    const auto type = node->input(0)->type()->cast<c10::FunctionType>();
    if (!type) {
      return;
    }
    const auto name = type->function()->qualname();
    auto* callee = jit::tryToGraphFunction(*type->function());
    if (is_library(name.qualifiedName())) {
      if (takes_tensor(node)) {
        add(node, scope, name.name());
      }
    } else if (callee != nullptr && depth < kMaxDepth) {
      node->removeInput(0);
      inlined(node, next, callee, scope, depth);
    }
  }

  void inlined(jit::Node* node, jit::Node* next, jit::GraphFunction* callee, const std::string& scope, int depth) {
    jit::Node* before = node->prev();
    jit::inlineCallTo(node, callee);
    walk(before->next(), next, scope, depth + 1);
  }

  // Taps what a node computes, if that holds tensors.
  void add(jit::Node* node, const std::string& scope, const std::string& operation) {
    const auto index = static_cast<int64_t>(tapped_.size());
    jit::Node* next = node->next();
    int64_t part = 0;
    size_t values = 0;
    // A part of several outputs is numbered even if it is none: `a, n, b = …`.
    const bool is_operator = node->blocks().empty();
    for (jit::Value* output : node->outputs()) {
      if (has_tensor(*output->type(), false)) {
        insert_tap(output, next, index, part, is_operator && node->outputs().size() == 1);
        index_.emplace(output, index);
        ++values;
      }
      part += is_operator && node->outputs().size() > 1 ? 1 : count_parts(*output->type());
    }
    if (values > 0) {
      tapped_.push_back({scope, operation, values});
    }
  }

  jit::Node* insert_tap(jit::Value* value, jit::Node* next, int64_t index, int64_t part, bool is_only) {
    const jit::WithInsertPoint guard(next);
    jit::Value* const place = graph_->insertConstant(index);
    jit::Value* const number = graph_->insertConstant(part);
    jit::Value* const form = graph_->insertConstant(is_only);
    return graph_->insertNode(
        graph_->create(c10::Symbol::fromQualString("qp::tap"), {value, place, number, form}, 0));
  }

  // The value behind the outputs of an `if` whose branch is known.
  const jit::Value* source_of(const jit::Value* value) const {
    for (int steps = 0; steps < 4096; ++steps) {
      const auto found = same_.find(value);
      if (found == same_.end()) {
        break;
      }
      value = found->second;
    }
    return value;
  }

  // The value of a condition that is known before the run: an attribute that no method sets, or its negation. A run
  // sets the module to evaluation.
  std::optional<bool> flag_of(const jit::Value* condition, int depth) const {
    const jit::Value* value = source_of(condition);
    const jit::Node* node = value->node();
    if (depth > 64) {
      return std::nullopt;
    }
    if (node->kind() == prim::Constant && value->type()->kind() == c10::TypeKind::BoolType) {
      return node->i(c10::attr::value) != 0;
    }
    if (node->kind() == c10::aten::__not__) {
      const auto inner = flag_of(node->input(0), depth + 1);
      return inner ? std::optional<bool>(!*inner) : std::nullopt;
    }
    if (node->kind() != prim::GetAttr || value->type()->kind() != c10::TypeKind::BoolType) {
      return std::nullopt;
    }
    const std::string& name = node->s(c10::attr::name);
    const auto path = path_of(node->input(0));
    if (!path || (name != "training" && mutable_.count(name) > 0)) {
      return std::nullopt;
    }
    return module_at(*path).attr(name).toBool();
  }

  // Functions of lists and dictionaries, which compute nothing.
  static bool is_container(const jit::Node* node) {
    static const std::unordered_set<std::string> names = {
        "Delete", "__getitem__", "_set_item", "append", "clear", "copy", "dict",    "extend", "get",
        "insert", "items",       "keys",      "list",   "pop",   "remove", "reverse", "values"};
    return node->kind().is_aten() && names.count(node->kind().toUnqualString()) > 0;
  }

  static bool takes_tensor(const jit::Node* node) {
    const auto inputs = node->inputs();
    return std::any_of(inputs.begin(), inputs.end(),
                       [](const jit::Value* input) { return has_tensor(*input->type(), true); });
  }

  // The path of a module that is reached from the root by its attributes: the one by which it is known first.
  std::optional<std::string> path_of(const jit::Value* value) const {
    std::string path;
    for (int steps = 0; steps < 4096; ++steps) {
      value = source_of(value);
      if (value == graph_->inputs().at(0)) {
        const auto known = paths_.find(module_at(path)._ivalue().get());
        return known == paths_.end() ? path : known->second;
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

  jit::Module module_at(const std::string& path) const {
    jit::Module module = module_;
    for (size_t from = 0; from < path.size();) {
      const size_t to = std::min(path.find('.', from), path.size());
      module = module.attr(path.substr(from, to - from)).toModule();
      from = to + 1;
    }
    return module;
  }

  bool holds_modules(const std::string& path) const {
    for (const jit::Module& child : module_at(path).children()) {
      if (child.type()->name()->name() != "LinearPackedParams") {
        return true;
      }
    }
    return false;
  }

  // Whether a module is one layer: nothing within it is tapped.
  static bool is_layer(const c10::ClassType& type, bool has_children) {
    const std::string& name = type.name()->qualifiedName();
    return is_whole(name) || (is_library(name) && !has_children);
  }

  jit::Module module_;
  std::shared_ptr<jit::Graph> graph_;
  std::unordered_map<const void*, std::string> paths_;
  std::unordered_set<const void*> read_;
  std::unordered_set<std::string> mutable_;
  // What a value is tapped as, and the values that are the same.
  std::unordered_map<const jit::Value*, size_t> index_;
  std::unordered_map<const jit::Value*, const jit::Value*> same_;
  std::vector<Tapped> tapped_;
  int nodes_ = 0;
};

// Gives the tensors in what `forward` returned, with the names that dictionaries give them.
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

// Silences the warnings of the calling thread, and of all threads what a model prints and the log below errors.
void qp_torch_silence() noexcept {
  // Never destroyed: threads of libtorch may warn until the process ends.
  static Silence* silence = new Silence();
  c10::WarningUtils::set_warning_handler(silence);
  FLAGS_caffe2_log_level = 3;
  jit::setPrintHandler([](const std::string&) {});
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
