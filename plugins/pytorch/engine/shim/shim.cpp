// What the engine needs of libtorch and `tch` does not offer.

#include <ATen/Context.h>
#include <c10/util/Exception.h>
#include <c10/util/Logging.h>
#include <torch/version.h>

namespace {

// Warnings go nowhere: the screen belongs to the host.
class Silence final : public c10::WarningHandler {
 public:
  void process(const c10::Warning&) override {}
};

}  // namespace

extern "C" {

// Silences the warnings of the calling thread, and the log of all threads below errors. Never throws.
void qp_torch_silence() noexcept {
  // Never destroyed: threads of libtorch may warn until the process ends.
  static Silence* silence = new Silence();
  c10::WarningUtils::set_warning_handler(silence);
  FLAGS_caffe2_log_level = 3;
}

// The engine that runs quantized operators: a static text. Never throws.
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

// The version of libtorch that the engine was built with: a static text.
const char* qp_torch_version() noexcept { return TORCH_VERSION; }
}
