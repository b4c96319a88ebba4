// Loads TorchScript archives as `torch::jit::load` does, without what a file could do in the process: each function
// that loading runs is checked first, and each object is of its declared class.

#include "guard.h"
#include "run.h"

#include <ATen/core/ivalue.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/csrc/jit/serialization/import_read.h>
#include <torch/csrc/jit/serialization/import_source.h>
#include <torch/csrc/jit/serialization/unpickler.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace {

namespace jit = torch::jit;
using c10::IValue;

// The caller's function for what libtorch is about to parse: sources (kind 0), pickles (1), and after the last one
// nothing (2). Any answer other than 0 ends the loading.
using Look = int (*)(void* context, int kind, const char* name, const char* bytes, size_t size);

constexpr const char* kCode = "code/";

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Types in pickles are texts, which libtorch's parser follows recursively.
c10::TypePtr parse_type(const std::string& text) {
  int depth = 0;
  for (const char letter : text) {
    depth += letter == '[' || letter == '(' ? 1 : letter == ']' || letter == ')' ? -1 : 0;
    TORCH_CHECK(depth < 64, "a type is nested too deeply");
  }
  return jit::Unpickler::defaultTypeParser(text);
}

// Gives lists and dictionaries the element types of `type`, which pickles omit, and checks that each object in `root`
// has the expected class: libtorch reads its attributes by number.
void settle(const IValue& root, const c10::TypePtr& root_type) {
  std::vector<std::pair<IValue, c10::TypePtr>> rest{{root, root_type}};
  std::unordered_set<const void*> seen;
  while (!rest.empty()) {
    auto [value, type] = std::move(rest.back());
    rest.pop_back();
    if (const auto optional = type->cast<c10::OptionalType>()) {
      if (!value.isNone()) {
        rest.emplace_back(value, optional->getElementType());
      }
      continue;
    }
    if (value.isPtrType() && !seen.insert(value.internalToPointer()).second) {
      continue;
    }
    switch (type->kind()) {
      case c10::TypeKind::TupleType: {
        const auto types = type->containedTypes();
        TORCH_CHECK(value.isTuple() && value.toTupleRef().elements().size() == types.size(),
                    "a value is not of type ", type->repr_str());
        for (size_t index = 0; index < types.size(); ++index) {
          rest.emplace_back(value.toTupleRef().elements()[index], types[index]);
        }
        break;
      }
      case c10::TypeKind::ListType: {
        TORCH_CHECK(value.isList(), "a value is not of type ", type->repr_str());
        const auto element = type->expectRef<c10::ListType>().getElementType();
        auto list = value.toList();
        list.unsafeSetElementType(element);
        for (const IValue& item : list.vec()) {
          rest.emplace_back(item, element);
        }
        break;
      }
      case c10::TypeKind::DictType: {
        TORCH_CHECK(value.isGenericDict(), "a value is not of type ", type->repr_str());
        const auto& dict_type = type->expectRef<c10::DictType>();
        auto dict = value.toGenericDict();
        dict.unsafeSetKeyType(dict_type.getKeyType());
        dict.unsafeSetValueType(dict_type.getValueType());
        for (const auto& entry : dict) {
          rest.emplace_back(entry.key(), dict_type.getKeyType());
          rest.emplace_back(entry.value(), dict_type.getValueType());
        }
        break;
      }
      case c10::TypeKind::ClassType:
      case c10::TypeKind::InterfaceType: {
        TORCH_CHECK(value.isObject() && value.toObjectRef().type()->isSubtypeOf(*type), "a value is not of type ",
                    type->repr_str());
        const auto& own = value.toObjectRef().type();
        for (size_t index = 0; index < own->numAttributes(); ++index) {
          rest.emplace_back(value.toObjectRef().getSlot(index), own->getAttribute(index));
        }
        break;
      }
      default:
        break;
    }
  }
}

class Loader {
 public:
  Loader(const std::string& path, Run& run)
      : run_(run),
        reader_(path),
        unit_(std::make_shared<jit::CompilationUnit>()),
        guard_(unit_),
        importer_(
            unit_, &constants_, [this](const std::string& qualifier) { return source(qualifier); },
            reader_.version()) {}

  // Shows `look` what libtorch will parse.
  void show(void* context, Look look) {
    const auto show_one = [&](int kind, const std::string& name, const char* bytes, size_t size) {
      if (look(context, kind, name.c_str(), bytes, size) != 0) {
        run_.is_stopped = true;
        TORCH_CHECK(false, "stopped");
      }
    };
    for (const std::string& name : reader_.getAllRecords()) {
      const bool is_source = name.rfind(kCode, 0) == 0 && ends_with(name, ".py");
      if (!is_source && name != "data.pkl" && name != "constants.pkl") {
        continue;
      }
      const auto [data, size] = reader_.getRecord(name);
      const char* bytes = static_cast<const char*>(data.get());
      show_one(is_source ? 0 : 1, name, bytes, size);
      if (is_source) {
        sources_.emplace(name, std::string(bytes, size));
      }
    }
    show_one(2, "", "", 0);
  }

  jit::Module load() {
    TORCH_CHECK(!reader_.hasRecord("model.json"), "the file is from a PyTorch before 1.2");
    const IValue constants = read("constants");
    TORCH_CHECK(constants.isTuple(), "the constants are not a tuple");
    for (const IValue& constant : constants.toTupleRef().elements()) {
      constants_.push_back(constant);
    }
    const IValue data = read("data");
    TORCH_CHECK(data.isObject() && data.toObjectRef().type()->is_module(), "the file does not contain a module");
    settle(data, data.toObjectRef().type());
    return jit::Module(data.toObject());
  }

  qp::Guard& guard() { return guard_; }

 private:
  std::shared_ptr<jit::Source> source(const std::string& qualifier) const {
    std::string name = kCode + qualifier + ".py";
    std::replace(name.begin() + static_cast<ptrdiff_t>(std::string(kCode).size()), name.end() - 3, '.', '/');
    const auto found = sources_.find(name);
    return found == sources_.end() ? nullptr : std::make_shared<jit::Source>(found->second, name, 1);
  }

  IValue read(const std::string& name) {
    const auto type_of = [this](const c10::QualifiedName& class_name) {
      qp::Guard::admit_class(class_name.qualifiedName(), "the file");
      return c10::StrongTypePtr(unit_, importer_.loadType(class_name));
    };
    const auto object_of = [this](const c10::StrongTypePtr& type, IValue state) { return object(type, state); };
    return jit::readArchiveAndTensors(name, "", "", type_of, object_of, at::Device(at::kCPU), reader_, parse_type);
  }

  c10::intrusive_ptr<c10::ivalue::Object> object(const c10::StrongTypePtr& type, IValue& state) {
    const auto class_type = type.type_->cast<c10::ClassType>();
    TORCH_CHECK(class_type, "an object has no class");
    const size_t count = class_type->numAttributes();
    auto object = c10::ivalue::Object::create(type, count);
    if (class_type->findMethod("__getstate__") == nullptr || class_type->findMethod("__setstate__") == nullptr) {
      TORCH_CHECK(state.isGenericDict(), "an object has no attributes");
      const auto attributes = state.toGenericDict();
      for (size_t index = 0; index < count; ++index) {
        object->setSlot(index, attributes.at(class_type->getAttributeName(index)));
      }
      return object;
    }
    jit::Function& set_state = class_type->getMethod("__setstate__");
    guard_.admit(set_state);
    const auto& arguments = set_state.getSchema().arguments();
    TORCH_CHECK(arguments.size() == 2, "`__setstate__` must take only a state");
    settle(state, arguments.at(1).type());
    jit::Stack stack{object, state};
    set_state.getSchema().checkAndNormalizeInputs(stack);
    run(set_state, stack);
    for (size_t index = 0; index < count; ++index) {
      const auto kind = class_type->getAttribute(index)->kind();
      TORCH_CHECK(kind == c10::TypeKind::OptionalType || kind == c10::TypeKind::NoneType ||
                      !object->getSlot(index).isNone(),
                  "`__setstate__` leaves out `", class_type->getAttributeName(index), "`");
    }
    return object;
  }

  void run(jit::Function& function, jit::Stack& stack) {
    auto* graph_function = jit::tryToGraphFunction(function);
    if (graph_function == nullptr) {
      function.run(stack);
      return;
    }
    const auto graph = graph_function->graph()->copy();
    jit::Inline(*graph);
    const jit::Code code(graph, "__setstate__");
    const Running running(run_);
    jit::InterpreterState(code, at_once).run(stack);
  }

  static void at_once(const std::function<void()>& work) { work(); }

  Run& run_;
  caffe2::serialize::PyTorchStreamReader reader_;
  std::shared_ptr<jit::CompilationUnit> unit_;
  qp::Guard guard_;
  std::vector<IValue> constants_;
  std::map<std::string, std::string> sources_;
  jit::SourceImporter importer_;
};

}  // namespace

extern "C" {

// Loads the TorchScript archive at `path` (UTF-8) into `*loaded`, which the caller releases. `look` sees everything
// before it is parsed, and `alive` is called in the loops of code that loading executes; either can stop it, which
// sets `*is_stopped`.
char* qp_torch_load(const char* path, void* context, Look look, Receive alive, QpTorchModule** loaded,
                    int* is_stopped) noexcept {
  Run run{nullptr, 0, context, alive};
  char* error = guarded([&] {
    Loader loader(path, run);
    loader.show(context, look);
    jit::Module module = loader.load();
    module.eval();
    const jit::Method forward = module.get_method("forward");
    loader.guard().admit(forward.function());
    const auto graph = jit::toGraphFunction(forward.function()).graph()->copy();
    std::vector<Tapped> tapped = put_taps(module, graph);
    jit::Inline(*graph);
    jit::Code code(graph, "forward");
    *loaded = new QpTorchModule{std::move(module), std::move(code), std::move(tapped), {}, {}};
  });
  *is_stopped = run.is_stopped ? 1 : 0;
  return error;
}
}
