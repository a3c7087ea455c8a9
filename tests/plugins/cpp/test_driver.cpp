// A CUDA driver for tests on machines without one: the cu* functions the plugin calls, over host memory.
//
// It is stricter than a real driver: images must be cubins for the device it pretends to be, or PTX for one that is not
// younger, and contain the entry asked for, and functions may only be launched in the context they were loaded in. A launch is handed to a
// callback. `test_driver_fail` makes a named call fail.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

enum : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kInvalidPtx = 218,
  kInvalidHandle = 400,
  kNotFound = 500,
};

struct Module {
  unsigned long long context;
  unsigned char const* image;
  size_t size;
};
struct Function {
  unsigned long long context;
  std::string name;
  uint32_t max_shared = 49152;
};
using Callback = int (*)(char const* name, unsigned const* grid, unsigned block, unsigned shared, void** arguments,
                         void* stream);
struct Failure {
  int result;
  int skip;
};

std::mutex g_mutex;
Callback g_callback = nullptr;
int g_capability = 87;
std::map<std::string, int> g_calls;
std::map<std::string, Failure> g_failures;
std::vector<std::unique_ptr<Module>> g_modules;
std::vector<std::unique_ptr<Function>> g_functions;
std::set<void const*> g_live;
thread_local unsigned long long g_context = 0;

// Counts the call and returns the injected failure, if any.
int enter(char const* name) {
  std::lock_guard<std::mutex> lock(g_mutex);
  ++g_calls[name];
  auto const failure = g_failures.find(name);
  if (failure == g_failures.end()) return kSuccess;
  return failure->second.skip-- > 0 ? kSuccess : failure->second.result;
}

template <typename T>
T read(unsigned char const* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// PTX is text that begins with a comment or its version.
bool is_ptx(unsigned char const* bytes) { return bytes[0] == '/' || bytes[0] == '.' || bytes[0] == '\n'; }

}  // namespace

extern "C" {

#define DRIVER_CALL __attribute__((visibility("default"))) int
#define ENTER(name) \
  if (int const injected = enter(#name)) return injected

DRIVER_CALL cuCtxGetCurrent(void** context) {
  ENTER(cuCtxGetCurrent);
  *context = reinterpret_cast<void*>(g_context);
  return kSuccess;
}

DRIVER_CALL cuCtxGetId(void* context, unsigned long long* id) {
  ENTER(cuCtxGetId);
  *id = reinterpret_cast<unsigned long long>(context);
  return kSuccess;
}

DRIVER_CALL cuCtxGetDevice(int* device) {
  ENTER(cuCtxGetDevice);
  if (g_context == 0) return kInvalidContext;
  *device = 0;
  return kSuccess;
}

DRIVER_CALL cuDeviceGetAttribute(int* value, int attribute, int) {
  ENTER(cuDeviceGetAttribute);
  std::lock_guard<std::mutex> lock(g_mutex);
  if (attribute != 75 && attribute != 76) return kInvalidValue;
  *value = attribute == 75 ? g_capability / 10 : g_capability % 10;
  return kSuccess;
}

DRIVER_CALL cuGetErrorName(int result, char const** name) {
  static std::map<int, char const*> const names = {{2, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                   {kInvalidValue, "CUDA_ERROR_INVALID_VALUE"},
                                                   {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE"},
                                                   {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT"},
                                                   {kNoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                                                   {kInvalidPtx, "CUDA_ERROR_INVALID_PTX"},
                                                   {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE"},
                                                   {kNotFound, "CUDA_ERROR_NOT_FOUND"},
                                                   {719, "CUDA_ERROR_LAUNCH_FAILED"}};
  auto const found = names.find(result);
  if (found == names.end()) return kInvalidValue;
  *name = found->second;
  return kSuccess;
}

DRIVER_CALL cuModuleLoadData(void** module, void const* image) {
  ENTER(cuModuleLoadData);
  auto const* bytes = static_cast<unsigned char const*>(image);
  if (g_context == 0) return kInvalidContext;
  if (is_ptx(bytes)) {
    char const* const text = static_cast<char const*>(image);
    char const* const target = std::strstr(text, "\n.target sm_");
    std::lock_guard<std::mutex> lock(g_mutex);
    if (target == nullptr) return kInvalidPtx;
    if (std::atoi(target + std::strlen("\n.target sm_")) > g_capability) return kNoBinaryForGpu;
    g_modules.push_back(std::make_unique<Module>(Module{g_context, bytes, std::strlen(text) + 1}));
    *module = g_modules.back().get();
    g_live.insert(*module);
    return kSuccess;
  }
  if (std::memcmp(bytes, "\177ELF", 4) != 0 || read<uint16_t>(bytes + 18) != 190) return kInvalidImage;  // EM_CUDA
  // The architecture is in e_flags: the lowest byte up to CUDA 12, the second one since.
  uint32_t const flags = read<uint32_t>(bytes + 48);
  std::lock_guard<std::mutex> lock(g_mutex);
  auto const wanted = static_cast<uint32_t>(g_capability == 121 ? 120 : g_capability);
  if ((flags & 0xff) != wanted && ((flags >> 8) & 0xff) != wanted) return kNoBinaryForGpu;
  size_t const size = read<uint64_t>(bytes + 40) + size_t{read<uint16_t>(bytes + 58)} * read<uint16_t>(bytes + 60);
  g_modules.push_back(std::make_unique<Module>(Module{g_context, bytes, size}));
  *module = g_modules.back().get();
  g_live.insert(*module);
  return kSuccess;
}

DRIVER_CALL cuModuleUnload(void* module) {
  ENTER(cuModuleUnload);
  std::lock_guard<std::mutex> lock(g_mutex);
  return g_live.erase(module) == 1 ? kSuccess : kInvalidHandle;
}

DRIVER_CALL cuModuleGetFunction(void** function, void* module, char const* name) {
  ENTER(cuModuleGetFunction);
  std::lock_guard<std::mutex> lock(g_mutex);
  if (g_live.count(module) == 0) return kInvalidHandle;
  auto const* found = static_cast<Module const*>(module);
  // ".text.NAME" ends in a zero, ".entry NAME" of PTX in a bracket.
  bool const ptx = is_ptx(found->image);
  std::string const entry = ptx ? std::string(".entry ") + name + "(" : std::string(".text.") + name;
  if (memmem(found->image, found->size, entry.c_str(), entry.size() + (ptx ? 0 : 1)) == nullptr) return kNotFound;
  g_functions.push_back(std::make_unique<Function>(Function{found->context, name}));
  *function = g_functions.back().get();
  g_live.insert(*function);
  return kSuccess;
}

DRIVER_CALL cuFuncSetAttribute(void* function, int attribute, int value) {
  ENTER(cuFuncSetAttribute);
  std::lock_guard<std::mutex> lock(g_mutex);
  if (g_live.count(function) == 0) return kInvalidHandle;
  if (attribute != 8) return kInvalidValue;
  static_cast<Function*>(function)->max_shared = static_cast<uint32_t>(value);
  return kSuccess;
}

DRIVER_CALL cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                           unsigned shared, void* stream, void** arguments, void** extra) {
  ENTER(cuLaunchKernel);
  Callback callback = nullptr;
  std::string name;
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    if (g_live.count(function) == 0) return kInvalidHandle;
    auto const* found = static_cast<Function const*>(function);
    if (found->context != g_context) return kInvalidContext;
    if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || by != 1 || bz != 1 || extra != nullptr ||
        shared > found->max_shared) {
      return kInvalidValue;
    }
    callback = g_callback;
    name = found->name;
  }
  unsigned const grid[3] = {gx, gy, gz};
  return callback == nullptr ? kSuccess : callback(name.c_str(), grid, bx, shared, arguments, stream);
}

// ---- For the tests ----

#define TEST_CALL __attribute__((visibility("default")))

TEST_CALL void test_driver_reset() {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_calls.clear();
  g_failures.clear();
  g_callback = nullptr;
  g_capability = 87;
}
TEST_CALL void test_driver_on_launch(Callback callback) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_callback = callback;
}
TEST_CALL void test_driver_set_capability(int capability) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_capability = capability;
}
TEST_CALL void test_driver_set_context(unsigned long long context) { g_context = context; }
// The (skip + 1)-th and every later call of `name` returns `result`.
TEST_CALL void test_driver_fail(char const* name, int result, int skip) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_failures[name] = {result, skip};
}
TEST_CALL int test_driver_calls(char const* name) {
  std::lock_guard<std::mutex> lock(g_mutex);
  return g_calls[name];
}

}  // extern "C"
