// ILoggerFinder and ILogger changed their layout in TensorRT 11 (and TensorRT-RTX 1.7): since then both derive from
// IVersionedInterface, whose virtual functions come first. This library is built with the headers of one version and
// loaded by all of them, so it calls both interfaces by index in the virtual table and asks the host's library for its
// version. The indices are those of the Itanium C++ ABI, which Linux uses on every processor.
#include "host_logger.h"

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>

namespace mutualformer {
namespace {

constexpr int32_t kError = 1;  // ILogger::Severity::kERROR, in every version

enum class Layout : size_t {
  kPlain = 0,      // the function is the first
  kVersioned = 4,  // after getAPILanguage, getInterfaceInfo and two destructors
  kUnknown,
};

void** functions(void* object) { return *static_cast<void***>(object); }

// Layout by the version of the library that implements `object`: 101403 is TensorRT 10.14.3, 10701 TensorRT-RTX 1.7.1.
Layout layout(void* object) {
  Dl_info host{};
  if (dladdr(functions(object), &host) == 0 || host.dli_fname == nullptr) return Layout::kUnknown;
  void* const library = dlopen(host.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return Layout::kUnknown;
  auto const version = reinterpret_cast<int32_t (*)()>(dlsym(library, "getInferLibVersion"));
  int32_t const number = version != nullptr ? version() : 0;
  dlclose(library);  // only decrements the count that dlopen incremented
  if (number >= 110000) return Layout::kVersioned;
  if (number >= 100000) return Layout::kPlain;
  return number >= 10700 ? Layout::kVersioned : Layout::kUnknown;  // TensorRT-RTX 1.7 and later
}

template <typename Function>
Function at(void* object, Layout where) {
  return reinterpret_cast<Function>(functions(object)[static_cast<size_t>(where)]);
}

}  // namespace

bool log_to_host(nvinfer1::ILoggerFinder* finder, char const* text) {
  if (finder == nullptr) return false;
  void* const self = finder;
  Layout const where = layout(self);
  if (where == Layout::kUnknown) return false;
  void* const logger = at<void* (*)(void*)>(self, where)(self);
  if (logger == nullptr) return false;
  at<void (*)(void*, int32_t, char const*)>(logger, where)(logger, kError, text);
  return true;
}

}  // namespace mutualformer
