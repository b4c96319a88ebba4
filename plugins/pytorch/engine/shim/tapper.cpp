// Where the values of a TorchScript module are seen while it runs.

#include "module.h"

#include <c10/util/Exception.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <algorithm>
#include <cstdint>
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

// Whether a value of this type holds a tensor; with `or_none` also if it may be none.
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

// How many numbers the tensors in a value of this type get.
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

// Whether a class or function belongs to a library, so that it is one layer whatever it computes; an fx module holds
// the code of a user's model. The same list is in `src/torchscript/class.rs` of the plugin.
bool is_library(const std::string& qualified) {
  constexpr const char* kRoot = "__torch__.";
  const size_t start = qualified.rfind(kRoot, 0) == 0 ? std::strlen(kRoot) : 0;
  const auto is_in = [&](const char* package) { return qualified.compare(start, std::strlen(package), package) == 0; };
  if (is_in("torch.fx.")) {
    return false;
  }
  return is_in("torch.") || is_in("torchvision.ops.") || is_in("torchao.") || is_in("onnx2torch.");
}

// Whether a library class is one layer although it holds modules, which it never calls; also as in `class.rs`.
bool is_whole(const std::string& qualified) {
  for (const char* part :
       {"functional_modules", "torch.nn.modules.activation.", "torch.ao.nn.quantized.dynamic.modules.rnn"}) {
    if (qualified.find(part) != std::string::npos) {
      return true;
    }
  }
  return false;
}

// Puts taps into the graph of `forward`, by the rules of `src/torchscript/forward.rs` in the plugin: after each
// library module without modules of its own, each operator and function that another module calls, and each `if` and
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
    TORCH_CHECK(depth <= kMaxModules, "the modules are nested too deeply");
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
      TORCH_CHECK(++nodes_ < kMaxNodes, "the graph of `forward` is too large");
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

  // For an `if` whose condition is known in advance, the branch that is taken replaces the `if`.
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
    // The result of a user's own module: the tap follows the value while the calls are inlined.
    const bool is_tapped = has_tensor(*node->output(0)->type(), false);
    jit::Node* anchor = is_tapped ? insert_tap(node->output(0), next, 0, 0, true) : nullptr;
    const size_t start = tapped_.size();
    inlined(node, anchor == nullptr ? next : anchor, callee, *path, depth);
    if (anchor != nullptr) {
      returned(anchor, start, *path);
    }
  }

  // The operator that computes the module's result is the module; if there is none, the module passes on what others
  // compute.
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
  // sets the module to evaluation mode.
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

  // The path of a module that is reached from the root by its attributes: the first one by which it is known.
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

  // Whether a module is one layer: nothing inside it is tapped.
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

}  // namespace

std::vector<Tapped> put_taps(const jit::Module& module, const std::shared_ptr<jit::Graph>& graph) {
  return Tapper(module, graph).run();
}
