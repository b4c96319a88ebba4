// What the files of the shim share: texts for the caller, and a model that is ready to run.

#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/interpreter.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// A text for the caller, who frees it.
inline char* text_of(const std::string& text) noexcept {
  char* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy != nullptr) {
    std::memcpy(copy, text.c_str(), text.size() + 1);
  }
  return copy;
}

// Runs `work`; returns the text of what it throws.
template <typename Work>
char* guarded(Work&& work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const std::exception& error) {
    return text_of(error.what());
  } catch (...) {
    return text_of("an exception other than std::exception");
  }
}

// A layer whose value a run can deliver.
struct Tapped {
  // For a module: its path, and no operator. For an operator: the path of the module that calls it.
  std::string scope;
  std::string operation;
  // How many values are tapped.
  size_t values;
};

// Puts taps into `graph`, a copy of that of the module's `forward`; returns what they tap, in the order of execution.
std::vector<Tapped> put_taps(const torch::jit::Module& module, const std::shared_ptr<torch::jit::Graph>& graph);

// An argument that a program contains.
struct Stored {
  c10::IValue value;
  // Whether the program writes into it: each run then gets a copy, so that all runs start from the same state.
  bool is_written = false;
};

// What runs: a TorchScript module in evaluation mode, or a program.
struct QpTorchModule {
  // Null for a program.
  std::optional<torch::jit::Module> module;
  torch::jit::Code code;
  // What can be tapped in a TorchScript module.
  std::vector<Tapped> tapped;
  // For a program: its first arguments, and for each input whether it is a whole number.
  std::vector<Stored> stored;
  std::vector<bool> int_inputs;
};
