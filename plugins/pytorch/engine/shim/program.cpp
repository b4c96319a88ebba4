// Programs: calls of operators by name, assembled into a TorchScript graph, which runs like any other.
//
// The caller adds stored values and inputs, pushes the arguments of a call, makes the call, and gets numbers for its
// results. libtorch's own rules find the overload, fill in defaults and convert arguments, as in TorchScript's
// compiler. A graph of calls can be run at once, so that what depends only on stored tensors is computed once.

#include "program.h"
#include "guard.h"

#include <cstdlib>

extern "C" {

QpTorchProgram* qp_torch_program() noexcept {
  try {
    return new QpTorchProgram();
  } catch (...) {
    return nullptr;
  }
}

void qp_torch_program_release(QpTorchProgram* program) noexcept {
  (void)guarded([&] { delete program; });
}

// How many overloads libtorch has for the operator `name`; with `overload`, 1 or 0.
int qp_torch_overloads(const char* name, const char* overload) noexcept {
  int count = 0;
  char* error = guarded([&] {
    for (const auto& found : jit::getAllOperatorsFor(c10::Symbol::fromQualString(name))) {
      count += overload == nullptr || found->schema().overload_name() == overload ? 1 : 0;
    }
  });
  std::free(error);
  return count;
}

// Adds a stored tensor, which is shared with the caller. All must be added before anything else.
char* qp_torch_program_store(QpTorchProgram* program, const at::Tensor* tensor) noexcept {
  return guarded([&] { program->stored.push_back({*tensor}); });
}

// Begins the graph with the stored values: their numbers are 0, 1, …
char* qp_torch_program_begin(QpTorchProgram* program) noexcept {
  return guarded([&] { program->begin(); });
}

// Adds an input, a whole number or a tensor, under the next number.
char* qp_torch_program_input(QpTorchProgram* program, int is_int) noexcept {
  return guarded([&] {
    jit::Value* value = program->graph->addInput();
    if (is_int != 0) {
      value->setType(c10::IntType::get());
    }
    program->int_inputs.push_back(is_int != 0);
    program->values.push_back(value);
  });
}

// Pushes an argument: `kind` says which of the parameters holds it.
enum QpTorchItem { kNone = 0, kBool = 1, kInt = 2, kFloat = 3, kComplex = 4, kText = 5, kDevice = 6, kValue = 7,
                   kList = 8, kTuple = 9 };

char* qp_torch_program_push(QpTorchProgram* program, int kind, int64_t number, double real, double imaginary,
                            const char* text) noexcept {
  return guarded([&] {
    std::vector<Item>& items = program->items;
    const jit::WithInsertPoint guard(program->end());
    switch (kind) {
      case kNone: items.emplace_back(IValue()); break;
      case kBool: items.emplace_back(IValue(number != 0)); break;
      case kInt: items.emplace_back(IValue(number)); break;
      case kFloat: items.emplace_back(IValue(real)); break;
      case kComplex: items.emplace_back(IValue(c10::complex<double>(real, imaginary))); break;
      case kText: items.emplace_back(IValue(std::string(text))); break;
      case kDevice: items.emplace_back(IValue(c10::Device(c10::kCPU))); break;
      case kValue: items.emplace_back(program->values.at(static_cast<size_t>(number))); break;
      case kList: program->list(static_cast<size_t>(number)); break;
      case kTuple: program->tuple(static_cast<size_t>(number)); break;
      default: TORCH_CHECK(false, "an argument of an unknown kind");
    }
  });
}

// Makes the last pushed argument a keyword argument.
char* qp_torch_program_name(QpTorchProgram* program, const char* name) noexcept {
  return guarded([&] { program->keywords.push_back({name, program->taken(1).front()}); });
}

// Calls `name` with all pushed arguments. The results get the next numbers: one for all of them, or one for each of
// the first `count` if `is_each`. `place` is where the call is in the model, for messages.
char* qp_torch_program_call(QpTorchProgram* program, const char* name, const char* overload, const char* place,
                            size_t count, int is_each) noexcept {
  char* error = guarded([&] {
    program->place = place;
    const jit::WithInsertPoint guard(program->end());
    const std::string full(name);
    std::vector<jit::Value*> each;
    jit::Value* result = nullptr;
    if (full == "python::getitem") {
      result = program->get_item();
    } else if (full == "python::getattr") {
      result = program->get_attribute();
    } else if (full == "python::ints") {
      // The elements of a tensor as a list of whole numbers.
      jit::Value* tensor = program->value_of(program->taken(1).front(), nullptr);
      const std::vector<int64_t> flat{-1};
      tensor = program->graph->insert(c10::aten::reshape, {tensor, flat});
      tensor = program->graph->insert(c10::aten::to, {tensor, c10::ScalarType::Long});
      result = program->graph->insertToList(tensor, c10::ListType::ofInts());
    } else if (full == "python::same") {
      // A value under another name.
      result = program->value_of(program->taken(1).front(), nullptr);
    } else if (overload == nullptr) {
      result = program->call_any(full);
    } else {
      const auto& known = jit::getAllOperatorsFor(c10::Symbol::fromQualString(full));
      const auto found = std::find_if(known.begin(), known.end(), [&](const auto& candidate) {
        return candidate->schema().overload_name() == overload;
      });
      TORCH_CHECK(found != known.end(), "libtorch has no operator `", full, ".", overload, "`");
      result = program->call_named(**found, each);
    }
    program->give(result, std::move(each), count, is_each != 0);
  });
  program->items.clear();
  program->keywords.clear();
  return error;
}

// Begins a condition on the last pushed argument. The calls that follow belong to the branch for true.
char* qp_torch_program_condition(QpTorchProgram* program, const char* place) noexcept {
  return guarded([&] {
    program->place = place;
    const jit::WithInsertPoint guard(program->end());
    program->begin_condition(program->taken(1).front());
  });
}

// Ends a branch, whose results are the last `count` pushed arguments. The calls that follow belong to the other
// branch; after that one, the condition's results get the next numbers, and calls are added after it.
char* qp_torch_program_end_branch(QpTorchProgram* program, size_t count) noexcept {
  return guarded([&] {
    const jit::WithInsertPoint guard(program->end());
    program->end_branch(program->taken(count));
  });
}

// Puts a tap with this number after a value, if it is a tensor or holds any.
char* qp_torch_program_tap(QpTorchProgram* program, uint32_t value, int64_t number) noexcept {
  return guarded([&] {
    jit::Graph& graph = *program->graph;
    const jit::WithInsertPoint guard(graph.return_node());
    jit::Value* const index = graph.insertConstant(number);
    jit::Value* const part = graph.insertConstant(static_cast<int64_t>(0));
    jit::Value* const is_only = graph.insertConstant(false);
    graph.insertNode(graph.create(c10::Symbol::fromQualString("qp::tap"),
                                  {program->values.at(value), index, part, is_only}, 0));
  });
}

// Runs the calls so far, and begins again with their results, and everything before them, as stored values.
char* qp_torch_program_freeze(QpTorchProgram* program) noexcept {
  return guarded([&] {
    for (jit::Value* value : program->values) {
      program->graph->registerOutput(value);
    }
    qp::Guard(nullptr).admit(*program->graph);
    const jit::Code code(program->graph, "setup");
    jit::Stack stack;
    for (const Stored& stored : program->stored) {
      stack.push_back(stored.value);
    }
    jit::InterpreterState(code).run(stack);
    program->graph = std::make_shared<jit::Graph>();
    program->values.clear();
    program->stored.clear();
    program->origin.clear();
    for (IValue& value : stack) {
      program->stored.push_back({std::move(value)});
    }
    program->begin();
  });
}

// Makes the last pushed argument the next output.
char* qp_torch_program_output(QpTorchProgram* program) noexcept {
  return guarded([&] {
    const jit::WithInsertPoint guard(program->graph->return_node());
    const Item item = program->taken(1).front();
    program->graph->registerOutput(program->value_of(item, nullptr));
  });
}

// Makes a module of the program, with its outputs as a tuple. Afterwards the program can only be released.
char* qp_torch_program_finish(QpTorchProgram* program, QpTorchModule** finished) noexcept {
  return guarded([&] {
    jit::Graph& graph = *program->graph;
    const jit::WithInsertPoint guard(graph.return_node());
    const std::vector<jit::Value*> outputs(graph.outputs().begin(), graph.outputs().end());
    jit::Value* all = graph.insertNode(graph.createTuple(outputs))->output();
    while (!graph.outputs().empty()) {
      graph.eraseOutput(graph.outputs().size() - 1);
    }
    graph.registerOutput(all);
    qp::Guard(nullptr).admit(graph);
    jit::Code code(program->graph, "forward");
    *finished = new QpTorchModule{std::nullopt, std::move(code), {}, std::move(program->stored),
                                  std::move(program->int_inputs)};
  });
}

// A quantized tensor from codes (int8, uint8 or int32) and one scale and zero point, or one per index along `axis`.
char* qp_torch_quantized(const at::Tensor* codes, const at::Tensor* scales, const at::Tensor* zero_points,
                         int64_t axis, at::Tensor** made) noexcept {
  return guarded([&] {
    if (axis < 0) {
      *made = new at::Tensor(at::_make_per_tensor_quantized_tensor(*codes, scales->item().toDouble(),
                                                                   zero_points->item().toLong()));
    } else {
      *made = new at::Tensor(at::_make_per_channel_quantized_tensor(*codes, *scales, *zero_points, axis));
    }
  });
}
}
