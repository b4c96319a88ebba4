// What stands between the code of a file and libtorch's kernels.

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

// How deep functions of a file may call each other, and how large and deep what they become together may be.
constexpr int kMaxCalls = 256;
constexpr int kMaxBlocks = 512;
constexpr int64_t kMaxNodes = 1 << 20;

// Why qp does not run a file: `refusal` in src/error.rs reads it.
[[noreturn]] inline void refuse(const std::string& reason, const std::string& subject, const std::string& place) {
  throw std::runtime_error("qp refuses\n" + reason + "\n" + subject + "\n" + place);
}

// Whether a model may call the operator of that name: what src/operators.rs says.
bool is_allowed(c10::Symbol name);

// What a number, or a device, stands for.
enum class Code { kNone, kDtype, kLayout, kMemoryFormat, kDevice };

Code code_of(const c10::Argument& argument);

// What is wrong with an argument that stands for something: `dtype -1`; empty when there is nothing wrong.
std::string wrong_code(Code code, const c10::IValue& value);

// Checks what a file can execute before any of it does, and makes its loops ask whether they are still wanted.
class Guard {
 public:
  // The functions of `unit` are those that an interface may stand for.
  explicit Guard(std::shared_ptr<torch::jit::CompilationUnit> unit) : unit_(std::move(unit)) {}

  // Checks a function with all that it calls, and puts `qp::alive` into the loops of all of them. Throws what `refuse`
  // throws.
  void admit(torch::jit::Function& function);

  // Checks a graph that is no function's.
  void admit(torch::jit::Graph& graph);

  // Whether objects of that class of libtorch's own may be made.
  static void admit_class(const std::string& name, const std::string& place);

 private:
  struct Extent {
    // Nodes, with those of all functions that are called.
    int64_t nodes = 0;
    // Blocks within blocks, and functions within functions.
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
  // Methods that are called by an interface: those of any class may be meant.
  std::unordered_set<std::string> by_interface_;
};

}  // namespace qp
