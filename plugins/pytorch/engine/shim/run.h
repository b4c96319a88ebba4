// A run in progress, and what it reports to its caller.

#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

// The caller's function for a tensor, which it then owns: part `part` of what is tapped at `index`. At the index -1
// there is none: the call checks for cancellation. Any answer other than 0 ends the run.
using Receive = int (*)(void* context, int64_t index, int64_t part, const char* name, at::Tensor* tensor);

// A run in progress on this thread: of a model, or of the code that loading a model executes.
struct Run {
  const uint8_t* wanted;
  size_t wanted_count;
  void* context;
  // Called with a null tensor if nothing is wanted: a chance to stop.
  Receive receive;
  bool is_stopped = false;
  // Iterations of loops that compute no tensors, and when the caller was last asked.
  int64_t idle = 0;
  std::chrono::steady_clock::time_point asked = std::chrono::steady_clock::now();

  void give(int64_t index, int64_t part, const char* name, const at::Tensor* tensor) {
    at::Tensor* owned = tensor == nullptr ? nullptr : new at::Tensor(*tensor);
    if (receive(context, index, part, name, owned) != 0) {
      is_stopped = true;
      throw std::runtime_error("stopped");
    }
  }

  // An iteration of a loop.
  void turn(bool is_idle) {
    // No model counts that far in steps that compute nothing.
    constexpr int64_t kMaxIdle = 500000;
    constexpr std::chrono::milliseconds kPatience(20);
    if (is_idle && ++idle > kMaxIdle) {
      throw std::runtime_error("a loop that computes no tensors has taken ~" + std::to_string(kMaxIdle) + " turns");
    }
    const auto now = std::chrono::steady_clock::now();
    if (now - asked >= kPatience) {
      asked = now;
      give(-1, 0, nullptr, nullptr);
    }
  }
};

extern thread_local Run* current_run;

// Sets this thread's run for the lifetime of the object.
class Running {
 public:
  explicit Running(Run& run) : before_(current_run) { current_run = &run; }
  ~Running() { current_run = before_; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  Run* before_;
};
