// Checks what a file can execute, as libtorch's compiler has understood it.

#include "guard.h"

#include <c10/util/Exception.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace qp {

namespace {

namespace jit = torch::jit;
namespace prim = c10::prim;

bool is_tensor(const c10::TypePtr& type, int depth = 0) {
  if (type->kind() == c10::TypeKind::TensorType) {
    return true;
  }
  const bool is_container = type->kind() == c10::TypeKind::ListType || type->kind() == c10::TypeKind::TupleType ||
                            type->kind() == c10::TypeKind::DictType || type->kind() == c10::TypeKind::OptionalType;
  const auto contained = is_container ? type->containedTypes() : c10::ArrayRef<c10::TypePtr>();
  return depth < 16 && std::any_of(contained.begin(), contained.end(),
                                   [&](const c10::TypePtr& inner) { return is_tensor(inner, depth + 1); });
}

// A name as in the source of the model: without `__torch__` and the marks that distinguish classes of one name.
std::string shown(const std::string& qualified) {
  std::string name;
  for (size_t from = 0; from <= qualified.size();) {
    const size_t to = std::min(qualified.find('.', from), qualified.size());
    const std::string part = qualified.substr(from, to - from);
    if (part != "__torch__" && part.rfind("___torch_mangle_", 0) != 0) {
      name += (name.empty() ? "" : ".") + part;
    }
    from = to + 1;
  }
  return name;
}

// Where a node is: calls of programs contain their place, see `range` in program.h.
std::string place_of(const jit::Node* node, const std::string& function) {
  const std::string text = node->sourceRange().text().str();
  const size_t end = text.find("`\n");
  return text.rfind("layer `", 0) == 0 && end != std::string::npos ? text.substr(7, end - 7) : function;
}

int64_t sum(int64_t one, int64_t other) { return std::min(one + other, 4 * kMaxNodes); }

}  // namespace

void Guard::Extent::take(const Extent& inner, int more_blocks, int more_calls) {
  nodes = sum(nodes, inner.nodes);
  blocks = std::max(blocks, inner.blocks + more_blocks);
  calls = std::max(calls, inner.calls + more_calls);
  has_tensor |= inner.has_tensor;
}

void Guard::admit(jit::Function& function) {
  Extent extent = extent_of(function, 0);
  // Methods that an interface may stand for can call others through an interface.
  for (size_t before = 0; unit_ && before != by_interface_.size();) {
    before = by_interface_.size();
    for (jit::Function* other : unit_->get_functions()) {
      if (by_interface_.count(other->qualname().name()) == 0) {
        continue;
      }
      const bool is_new = known_.count(other) == 0;
      extent_of(*other, 0);
      auto* graph_function = jit::tryToGraphFunction(*other);
      if (is_new && graph_function != nullptr) {
        // They may call themselves, which no compiler notices.
        const auto graph = graph_function->graph();
        const jit::WithInsertPoint guard(*graph->nodes().begin());
        graph->insertNode(graph->create(c10::Symbol::fromQualString("qp::alive"), {graph->insertConstant(true)}, 0));
      }
    }
  }
  const std::string place = shown(function.qualname().qualifiedName());
  if (extent.nodes > kMaxNodes) {
    refuse("large", "", place);
  }
  if (extent.blocks > kMaxBlocks) {
    refuse("blocks", "", place);
  }
}

void Guard::admit(jit::Graph& graph) { walk(graph.block(), "the program", 0); }

void Guard::admit_class(const std::string& name, const std::string& place) {
  // The classes of packed weights. Others reach further: processes, devices, files of other backends.
  static const std::unordered_set<std::string> packed = {
      "quantized.Conv2dPackedParamsBase", "quantized.Conv3dPackedParamsBase", "quantized.LinearPackedParamsBase",
      "quantized.EmbeddingPackedParamsBase", "rnn.CellParamsBase", "sparse.LinearPackedParamsBase"};
  constexpr const char* kClasses = "__torch__.torch.classes.";
  const std::string own = name.rfind(kClasses, 0) == 0 ? name.substr(std::char_traits<char>::length(kClasses)) : "";
  if (!own.empty() && packed.count(own) == 0) {
    refuse("class", own, place);
  }
}

Guard::Extent Guard::extent_of(jit::Function& function, int calls) {
  const std::string place = shown(function.qualname().qualifiedName());
  const auto found = known_.find(&function);
  if (found != known_.end()) {
    if (calls + found->second.calls > kMaxCalls) {
      refuse("calls", "", place);
    }
    return found->second;
  }
  if (calls > kMaxCalls) {
    refuse("calls", "", place);
  }
  // Recursion, which libtorch rejects, ends here.
  known_.emplace(&function, Extent());
  Extent extent;
  if (auto* graph_function = jit::tryToGraphFunction(function)) {
    extent = walk(graph_function->graph()->block(), place, calls);
  } else {
    admit_class(function.qualname().prefix(), place);
    extent.nodes = 1;
    extent.has_tensor = true;
  }
  known_[&function] = extent;
  return extent;
}

Guard::Extent Guard::walk(jit::Block* block, const std::string& place, int calls) {
  Extent extent;
  for (jit::Node* node : block->nodes()) {
    if (!is_allowed(node->kind())) {
      refuse("operator", node->kind().toQualString(), place_of(node, place));
    }
    check_codes(node, place);
    Extent own;
    own.nodes = 1;
    own.take(called(node, place, calls), 0, 1);
    const auto touches = [](const jit::Value* value) { return is_tensor(value->type()); };
    own.has_tensor |= std::any_of(node->inputs().begin(), node->inputs().end(), touches) ||
                      std::any_of(node->outputs().begin(), node->outputs().end(), touches);
    for (const c10::Symbol name : node->attributeNames()) {
      if (node->kindOf(name) == jit::AttributeKind::g) {
        own.take(walk(node->g(name)->block(), place, calls), 1, 0);
      } else if (node->kindOf(name) == jit::AttributeKind::gs) {
        for (const auto& graph : node->gs(name)) {
          own.take(walk(graph->block(), place, calls), 1, 0);
        }
      }
    }
    Extent inner;
    for (jit::Block* branch : node->blocks()) {
      inner.take(walk(branch, place, calls), 1, 0);
    }
    if (node->kind() == prim::Loop) {
      if (is_endless(node)) {
        refuse("endless", "", place);
      }
      jit::Graph* graph = node->owningGraph();
      const jit::WithInsertPoint guard(*node->blocks()[0]->nodes().begin());
      jit::Value* const is_idle = graph->insertConstant(!inner.has_tensor);
      graph->insertNode(graph->create(c10::Symbol::fromQualString("qp::alive"), {is_idle}, 0));
    }
    own.take(inner, 0, 0);
    extent.take(own, 0, 0);
  }
  return extent;
}

// What a node calls, and the class it instantiates.
Guard::Extent Guard::called(const jit::Node* node, const std::string& place, int calls) {
  Extent extent;
  if (node->kind() == prim::Constant) {
    // It counts where it is called.
    if (const auto type = node->output()->type()->cast<c10::FunctionType>()) {
      extent_of(*type->function(), calls + 1);
    }
  } else if (node->kind() == prim::CallFunction) {
    if (const auto type = node->input(0)->type()->cast<c10::FunctionType>()) {
      extent = extent_of(*type->function(), calls + 1);
    }
  } else if (node->kind() == prim::CallMethod) {
    const std::string& name = node->s(c10::attr::name);
    if (const auto type = node->input(0)->type()->cast<c10::ClassType>()) {
      extent = extent_of(type->getMethod(name), calls + 1);
    } else {
      by_interface_.insert(name);
    }
  } else if (node->kind() == prim::CreateObject) {
    if (const auto type = node->output()->type()->cast<c10::ClassType>()) {
      admit_class(type->name()->qualifiedName(), place);
    }
  }
  return extent;
}

// Numbers that are known before the run and encode nothing.
void Guard::check_codes(const jit::Node* node, const std::string& place) const {
  const c10::FunctionSchema* schema = node->maybeSchema();
  if (schema == nullptr || schema->is_vararg()) {
    return;
  }
  const auto& arguments = schema->arguments();
  for (size_t index = 0; index < std::min(arguments.size(), node->inputs().size()); ++index) {
    const Code code = code_of(arguments[index]);
    // A device may be named where it is never used.
    if (code == Code::kNone || code == Code::kDevice) {
      continue;
    }
    if (const auto value = jit::toIValue(node->input(index))) {
      const std::string wrong = wrong_code(code, *value);
      if (!wrong.empty()) {
        refuse("code", wrong, place_of(node, place));
      }
    }
  }
}

// Whether a loop is endless: no count, and a condition that nothing changes.
bool Guard::is_endless(const jit::Node* loop) {
  const auto is_true = [](const jit::Value* value) {
    const auto known = jit::toIValue(value);
    return known && known->isBool() && known->toBool();
  };
  const auto count = jit::toIValue(loop->input(0));
  const jit::Block* body = loop->blocks()[0];
  if (!count || !count->isInt() || count->toInt() != std::numeric_limits<int64_t>::max() || !is_true(loop->input(1)) ||
      !is_true(body->outputs().at(0))) {
    return false;
  }
  // Raising an error also ends a loop.
  std::vector<const jit::Block*> blocks{body};
  while (!blocks.empty()) {
    const jit::Block* block = blocks.back();
    blocks.pop_back();
    for (const jit::Node* node : block->nodes()) {
      if (node->kind() == prim::RaiseException || node->kind() == prim::CallMethod ||
          node->kind() == prim::CallFunction) {
        return false;
      }
      blocks.insert(blocks.end(), node->blocks().begin(), node->blocks().end());
    }
  }
  return true;
}

}  // namespace qp
