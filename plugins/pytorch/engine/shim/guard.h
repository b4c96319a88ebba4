// The checks between the code of a file and libtorch's kernels.

#pragma once

#include "module.h"

#include <ATen/core/function_schema.h>
#include <torch/csrc/jit/api/compilation_unit.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace qp {

// How deeply functions of a file may call each other, and how large and deep they may become when inlined together.
constexpr int kMaxCalls = 256;
constexpr int kMaxBlocks = 512;
constexpr int64_t kMaxNodes = 1 << 20;

// Why qp does not run a file: `refusal` in src/error.rs reads it.
[[noreturn]] inline void refuse(const std::string& reason, const std::string& subject, const std::string& place) {
  throw std::runtime_error("qp refuses\n" + reason + "\n" + subject + "\n" + place);
}

// Whether a model may call the operator with this name: decided by src/operators.rs.
bool is_allowed(c10::Symbol name);

// What a number, or a device, stands for.
enum class Code { kNone, kDtype, kLayout, kMemoryFormat, kDevice };

Code code_of(const c10::Argument& argument);

// What is wrong with an argument that encodes something: `dtype -1`; empty if nothing is.
std::string wrong_code(Code code, const c10::IValue& value);

// Checks what a file can execute before any of it is executed, and makes its loops check for cancellation.
class Guard {
 public:
  // The functions of `unit` are those that an interface may stand for.
  explicit Guard(std::shared_ptr<torch::jit::CompilationUnit> unit) : unit_(std::move(unit)) {}

  // Checks a function with everything that it calls, and puts `qp::alive` into the loops of all of them. Throws as
  // `refuse` does.
  void admit(torch::jit::Function& function);

  // Checks a graph that does not belong to a function.
  void admit(torch::jit::Graph& graph);

  // Whether objects of this libtorch class may be created.
  static void admit_class(const std::string& name, const std::string& place);

 private:
  struct Extent {
    // Nodes, including those of all called functions.
    int64_t nodes = 0;
    // Nested blocks and functions.
    int blocks = 0;
    int calls = 0;
    bool has_tensor = false;

    void take(const Extent& inner, int more_blocks, int more_calls);
  };

  Extent extent_of(torch::jit::Function& function, int calls);
  Extent walk(torch::jit::Block* block, const std::string& place, int calls);
  Extent called(const torch::jit::Node* node, const std::string& place, int calls);
  void check_codes(const torch::jit::Node* node, const std::string& place) const;
  static bool is_endless(const torch::jit::Node* loop);

  std::shared_ptr<torch::jit::CompilationUnit> unit_;
  std::unordered_map<const torch::jit::Function*, Extent> known_;
  // Methods called through an interface: any class's may be meant.
  std::unordered_set<std::string> by_interface_;
};

}  // namespace qp
