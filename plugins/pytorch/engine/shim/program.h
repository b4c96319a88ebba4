// A graph of operator calls under construction: `program.cpp` builds its interface on this.

#pragma once

#include "module.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_make_per_channel_quantized_tensor.h>
#include <ATen/ops/_make_per_tensor_quantized_tensor.h>
#include <torch/csrc/jit/frontend/schema_matching.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <variant>

namespace qp {

namespace jit = torch::jit;
namespace prim = c10::prim;
using c10::IValue;

// A list without elements: its type is that of the argument it becomes.
struct Empty {};
// What can be an argument: known now, or computed by the graph.
using Item = std::variant<IValue, jit::Value*, Empty>;

struct Keyword {
  std::string name;
  Item item;
};

inline bool is_tensor(const jit::Value* value) { return value->type()->isSubtypeOf(*c10::TensorType::get()); }

// A list of constants with the type that fits all of them; `None` if building one requires a graph.
inline std::optional<IValue> constant_list(const std::vector<Item>& items) {
  const auto all = [&](auto&& test) {
    return std::all_of(items.begin(), items.end(), [&](const Item& item) {
      const IValue* value = std::get_if<IValue>(&item);
      return value != nullptr && test(*value);
    });
  };
  const auto list = [&](auto element, auto&& convert) {
    c10::List<decltype(element)> list;
    for (const Item& item : items) {
      list.push_back(convert(std::get<IValue>(item)));
    }
    return IValue(list);
  };
  if (all([](const IValue& value) { return value.isInt(); })) {
    return list(int64_t{}, [](const IValue& value) { return value.toInt(); });
  }
  if (all([](const IValue& value) { return value.isInt() || value.isDouble(); })) {
    return list(double{}, [](const IValue& value) { return value.toScalar().toDouble(); });
  }
  if (all([](const IValue& value) { return value.isBool(); })) {
    return list(bool{}, [](const IValue& value) { return value.toBool(); });
  }
  if (all([](const IValue& value) { return value.isString(); })) {
    return list(std::string{}, [](const IValue& value) { return value.toStringRef(); });
  }
  if (!items.empty() && all([](const IValue& value) { return value.isIntList(); })) {
    c10::impl::GenericList lists(c10::ListType::ofInts());
    for (const Item& item : items) {
      lists.push_back(std::get<IValue>(item));
    }
    return IValue(lists);
  }
  return std::nullopt;
}

}  // namespace qp

using qp::Empty;
using qp::Item;
using qp::Keyword;
using qp::constant_list;
using qp::is_tensor;
namespace jit = torch::jit;
namespace prim = c10::prim;
using c10::IValue;

// A graph under construction.
struct QpTorchProgram {
  std::shared_ptr<jit::Graph> graph = std::make_shared<jit::Graph>();
  std::vector<jit::Value*> values;
  std::vector<Stored> stored;
  std::vector<bool> int_inputs;
  std::vector<Item> items;
  std::vector<Keyword> keywords;
  // The stored value that a value is, or is a view of.
  std::unordered_map<const jit::Value*, size_t> origin;
  std::string place;
  // The branches that calls are added to, innermost last, and the nodes they belong to.
  std::vector<jit::Block*> branches;
  std::vector<jit::Node*> conditions;

  // The insertion point of calls: the end of the innermost branch, or of the graph.
  jit::Node* end() const { return branches.empty() ? graph->return_node() : branches.back()->return_node(); }

  // The place as a source text: libtorch's messages show it, and `failed_at` in src/error.rs finds it there.
  jit::SourceRange range() const {
    const auto source = std::make_shared<jit::Source>("layer `" + place + "`\n");
    return {source, 0, source->size()};
  }

  // Binds all stored values as the graph's first inputs.
  void begin() {
    for (size_t index = 0; index < stored.size(); ++index) {
      jit::Value* value = graph->addInput();
      value->setType(stored[index].value.type());
      origin[value] = index;
      values.push_back(value);
    }
  }

  jit::Value* value_of(const Item& item, const c10::TypePtr& wanted) {
    if (const IValue* constant = std::get_if<IValue>(&item)) {
      // Python also writes a real number without a decimal point.
      const bool is_real = constant->isInt() && wanted && c10::FloatType::get()->isSubtypeOf(*wanted) &&
                           !c10::IntType::get()->isSubtypeOf(*wanted);
      return graph->insertConstant(is_real ? IValue(static_cast<double>(constant->toInt())) : *constant, range());
    }
    if (jit::Value* const* value = std::get_if<jit::Value*>(&item)) {
      return *value;
    }
    c10::TypePtr element = c10::IntType::get();
    if (wanted) {
      c10::TypePtr list = wanted;
      if (const auto optional = list->cast<c10::OptionalType>()) {
        list = optional->getElementType();
      }
      if (const auto known = list->cast<c10::ListType>()) {
        element = known->getElementType();
      }
    }
    return graph->insertNode(graph->createList(element, {}))->output();
  }

  // The last `count` items, in the order in which they were pushed.
  std::vector<Item> taken(size_t count) {
    TORCH_CHECK(count <= items.size(), "a list has more elements than there are");
    std::vector<Item> last(items.end() - static_cast<ptrdiff_t>(count), items.end());
    items.resize(items.size() - count);
    return last;
  }

  void list(size_t count) {
    const std::vector<Item> elements = taken(count);
    if (elements.empty()) {
      items.emplace_back(Empty{});
      return;
    }
    if (auto constant = constant_list(elements)) {
      items.emplace_back(std::move(*constant));
      return;
    }
    std::vector<jit::Value*> inputs;
    bool has_none = false;
    bool has_float = false;
    c10::TypePtr element;
    for (const Item& item : elements) {
      jit::Value* value = value_of(item, nullptr);
      inputs.push_back(value);
      has_none |= value->type()->kind() == c10::TypeKind::NoneType;
      has_float |= value->type()->kind() == c10::TypeKind::FloatType;
      if (value->type()->kind() != c10::TypeKind::NoneType && !element) {
        element = is_tensor(value) ? c10::TypePtr(c10::TensorType::get()) : value->type();
      }
    }
    if (has_float) {
      element = c10::FloatType::get();
      for (jit::Value*& value : inputs) {
        if (value->type()->kind() == c10::TypeKind::IntType) {
          value = graph->insert(c10::aten::Float, {value});
        }
      }
    }
    TORCH_CHECK(element, "a list contains only `None`");
    if (has_none) {
      element = c10::OptionalType::create(element);
    }
    items.emplace_back(graph->insertNode(graph->createList(element, inputs))->output());
  }

  void tuple(size_t count) {
    std::vector<jit::Value*> elements;
    for (const Item& item : taken(count)) {
      elements.push_back(value_of(item, nullptr));
    }
    items.emplace_back(graph->insertNode(graph->createTuple(elements))->output());
  }

  // Records which results are views of stored values, and which stored values are written to.
  void follow(const jit::Node* node, const c10::FunctionSchema& schema) {
    const auto& formal = schema.arguments();
    for (size_t index = 0; index < formal.size() && index < node->inputs().size(); ++index) {
      const auto* alias = formal[index].alias_info();
      const auto found = origin.find(node->input(index));
      if (alias == nullptr || found == origin.end()) {
        continue;
      }
      if (alias->isWrite()) {
        stored[found->second].is_written = true;
      }
      for (const jit::Value* output : node->outputs()) {
        origin.emplace(output, found->second);
      }
    }
  }

  void follow_inserted(const jit::Node* before) {
    for (jit::Node* node = before->next(); node != end(); node = node->next()) {
      if (const auto* schema = node->maybeSchema()) {
        follow(node, *schema);
      }
    }
  }

  // An argument for a parameter of this type. Python passes numbers where a tensor is expected.
  jit::Value* value_for(const Item& item, const c10::TypePtr& wanted, bool wraps_numbers) {
    jit::Value* value = value_of(item, wanted);
    const bool is_number = value->type()->isSubtypeOf(*c10::NumberType::get());
    if (wraps_numbers && is_number && wanted && wanted->kind() == c10::TypeKind::TensorType) {
      return graph->insert(prim::NumToTensor, {value});
    }
    return value;
  }

  // The operator overload that the file names. If it takes a tensor but receives a number, the overload for numbers
  // agrees with Python's result in its type; if there is none, the number becomes a tensor.
  jit::Value* call_named(const jit::Operator& found, std::vector<jit::Value*>& each) {
    try {
      return call_overload(found, each, false);
    } catch (const std::exception&) {
      each.clear();
      const std::exception_ptr first = std::current_exception();
      try {
        return call_any(found.schema().name());
      } catch (const std::exception&) {
      }
      try {
        return call_overload(found, each, true);
      } catch (const std::exception&) {
        std::rethrow_exception(first);
      }
    }
  }

  // A call of one overload, with libtorch's conversions of its arguments.
  jit::Value* call_overload(const jit::Operator& found, std::vector<jit::Value*>& each, bool wraps_numbers) {
    const c10::FunctionSchema& schema = found.schema();
    std::vector<jit::NamedValue> positional;
    for (size_t index = 0; index < items.size(); ++index) {
      const c10::TypePtr wanted =
          index < schema.arguments().size() ? c10::TypePtr(schema.arguments()[index].type()) : nullptr;
      positional.emplace_back(range(), value_for(items[index], wanted, wraps_numbers));
    }
    std::vector<jit::NamedValue> named;
    for (const Keyword& keyword : keywords) {
      const auto& formal = schema.arguments();
      const auto known = std::find_if(formal.begin(), formal.end(), [&](const c10::Argument& argument) {
        return argument.name() == keyword.name;
      });
      const c10::TypePtr wanted = known == formal.end() ? nullptr : c10::TypePtr(known->type());
      named.emplace_back(range(), keyword.name, value_for(keyword.item, wanted, wraps_numbers));
    }
    const jit::MatchedSchema matched = jit::matchSchema(schema, range(), *graph, positional, named);
    jit::Node* node = graph->insertNode(
        graph->create(c10::Symbol::fromQualString(schema.name()), matched.inputs, 0));
    node->setSourceRange(range());
    for (const c10::TypePtr& type : matched.return_types) {
      each.push_back(node->addOutput()->setType(type));
    }
    // Fails here, where the place is known, if no kernel takes these arguments.
    node->getOperation();
    follow(node, schema);
    return each.size() == 1 ? each.front() : nullptr;
  }

  // The type of an argument in all overloads that have it: the one at `index`, or the one named `name`. Null if they
  // differ.
  static c10::TypePtr common_type(c10::Symbol symbol, size_t index, const std::string* name) {
    c10::TypePtr common;
    for (const auto& known : jit::getAllOperatorsFor(symbol)) {
      const auto& formal = known->schema().arguments();
      if (name != nullptr) {
        const auto found = std::find_if(formal.begin(), formal.end(), [&](const c10::Argument& argument) {
          return argument.name() == *name;
        });
        index = static_cast<size_t>(found - formal.begin());
      }
      if (index >= formal.size()) {
        continue;
      }
      if (common && *common != *formal[index].type()) {
        return nullptr;
      }
      common = formal[index].type();
    }
    return common;
  }

  // The operator, with the overload that the arguments select.
  jit::Value* call_any(const std::string& name) {
    const c10::Symbol symbol = c10::Symbol::fromQualString(name);
    std::vector<jit::NamedValue> positional;
    for (size_t index = 0; index < items.size(); ++index) {
      positional.emplace_back(range(), value_of(items[index], common_type(symbol, index, nullptr)));
    }
    std::vector<jit::NamedValue> named;
    for (const Keyword& keyword : keywords) {
      named.emplace_back(range(), keyword.name, value_of(keyword.item, common_type(symbol, 0, &keyword.name)));
    }
    jit::Node* last = end()->prev();
    jit::Value* result = jit::emitBuiltinCall(range(), *graph, symbol, positional, named);
    follow_inserted(last);
    return result;
  }

  int64_t constant_index(const Item& item) const {
    const IValue* value = std::get_if<IValue>(&item);
    TORCH_CHECK(value != nullptr && value->isInt(), "the index is not a number known before the run");
    return value->toInt();
  }

  // `value[index]` as Python does it.
  jit::Value* get_item() {
    TORCH_CHECK(items.size() == 2, "`getitem` takes a value and an index");
    jit::Value* value = value_of(items[0], nullptr);
    if (value->type()->kind() == c10::TypeKind::TupleType) {
      const auto count = static_cast<int64_t>(value->type()->expectRef<c10::TupleType>().elements().size());
      int64_t index = constant_index(items[1]);
      index = index < 0 ? index + count : index;
      TORCH_CHECK(index >= 0 && index < count, "there is no element ", index, " in a tuple of ", count);
      jit::Value* at = graph->insertConstant(index, range());
      const c10::TypePtr type = value->type()->expectRef<c10::TupleType>().elements()[static_cast<size_t>(index)];
      return graph->insertNode(graph->createTupleIndex(value, at, type))->output();
    }
    jit::Value* index = value_of(items[1], nullptr);
    if (!is_tensor(value)) {
      return graph->insert(c10::aten::__getitem__, {value, index});
    }
    if (index->type()->kind() == c10::TypeKind::IntType) {
      return graph->insert(c10::aten::select, {value, 0, index});
    }
    TORCH_CHECK(is_tensor(index), "a tensor is indexed by something other than a number, slice or tensor");
    jit::Value* indices =
        graph->insertNode(graph->createList(c10::OptionalType::create(c10::TensorType::get()), {index}))->output();
    return graph->insert(c10::aten::index, {value, indices});
  }

  // `value.name` as Python does it.
  jit::Value* get_attribute() {
    const IValue* constant = items.size() == 2 ? std::get_if<IValue>(&items[1]) : nullptr;
    TORCH_CHECK(constant != nullptr && constant->isString(), "`getattr` takes a value and a name");
    const std::string& name = constant->toStringRef();
    jit::Value* value = value_of(items[0], nullptr);
    if (const auto tuple = value->type()->cast<c10::TupleType>()) {
      const auto& schema = tuple->schema();
      TORCH_CHECK(schema, "a tuple has no attribute `", name, "`");
      const auto& fields = schema->arguments();
      for (size_t index = 0; index < fields.size(); ++index) {
        if (fields[index].name() == name) {
          jit::Value* at = graph->insertConstant(static_cast<int64_t>(index), range());
          return graph->insertNode(graph->createTupleIndex(value, at, tuple->elements()[index]))->output();
        }
      }
      TORCH_CHECK(false, "the result has no attribute `", name, "`");
    }
    static const std::unordered_map<std::string, const char*> operators = {
        {"shape", "aten::size"},  {"ndim", "aten::dim"},       {"dtype", "prim::dtype"}, {"device", "prim::device"},
        {"T", "aten::numpy_T"},   {"mT", "aten::mT"},          {"H", "aten::matrix_H"},  {"real", "aten::real"},
        {"imag", "aten::imag"},   {"data", "aten::detach"},    {"layout", "prim::layout"},
    };
    const auto found = operators.find(name);
    TORCH_CHECK(is_tensor(value) && found != operators.end(), "a value has no attribute `", name, "`");
    return graph->insert(c10::Symbol::fromQualString(found->second), {value});
  }

  // Begins a condition with the branch that is taken if `item`, a boolean or a tensor of one element, is true.
  void begin_condition(const Item& item) {
    jit::Value* value = value_of(item, nullptr);
    if (is_tensor(value)) {
      value = graph->insert(c10::aten::Bool, {value});
    }
    TORCH_CHECK(value->type()->kind() == c10::TypeKind::BoolType, "a condition is not a truth value");
    jit::Node* node = graph->insertNode(graph->create(prim::If, {value}, 0));
    branches.push_back(node->addBlock());
    node->addBlock();
    conditions.push_back(node);
  }

  // Ends the branch with its results. After the first comes the second; after that, the condition has results.
  void end_branch(const std::vector<Item>& results) {
    TORCH_CHECK(!branches.empty(), "no branch has begun");
    for (const Item& item : results) {
      branches.back()->registerOutput(value_of(item, nullptr));
    }
    jit::Node* node = conditions.back();
    if (branches.back() == node->blocks()[0]) {
      branches.back() = node->blocks()[1];
      return;
    }
    branches.pop_back();
    conditions.pop_back();
    const auto first = node->blocks()[0]->outputs();
    const auto second = node->blocks()[1]->outputs();
    TORCH_CHECK(first.size() == second.size(), "the branches of a condition have ~", first.size(), " and ",
                second.size(), " results");
    for (size_t index = 0; index < first.size(); ++index) {
      const auto type = c10::unifyTypes(first[index]->type(), second[index]->type());
      TORCH_CHECK(type, "the branches of a condition have results of different types");
      jit::Value* output = node->addOutput()->setType(*type);
      values.push_back(output);
      // A branch may pass on stored values. Of two, it is unknown which one a write would reach.
      const auto one = origin.find(first[index]);
      const auto other = origin.find(second[index]);
      if (one != origin.end() && other != origin.end() && one->second != other->second) {
        stored[one->second].is_written = true;
        stored[other->second].is_written = true;
      }
      if (one != origin.end() || other != origin.end()) {
        const size_t from = one != origin.end() ? one->second : other->second;
        origin.emplace(output, from);
      }
    }
  }

  // One number per result: for a tuple or list of `count` elements, one per element.
  void give(jit::Value* result, std::vector<jit::Value*> each, size_t count, bool is_each) {
    if (!is_each) {
      values.push_back(result != nullptr ? result : graph->insertNode(graph->createTuple(each))->output());
      return;
    }
    if (result != nullptr && result->type()->kind() == c10::TypeKind::TupleType) {
      const auto unpacked = graph->insertNode(graph->createTupleUnpack(result))->outputs();
      each.assign(unpacked.begin(), unpacked.end());
    } else if (result != nullptr && result->type()->kind() == c10::TypeKind::ListType) {
      const auto unpacked = graph->insertNode(graph->createListUnpack(result, count))->outputs();
      each.assign(unpacked.begin(), unpacked.end());
    } else if (result != nullptr) {
      each = {result};
    }
    TORCH_CHECK(each.size() >= count, "the operator gives ", each.size(), " results instead of ~", count);
    values.insert(values.end(), each.begin(), each.begin() + static_cast<ptrdiff_t>(count));
  }
};
