// A CUDA driver for machines without one: the cu* functions the plugin and its sessions call, over host memory.
//
// It is stricter than a real driver: images must be cubins for the device it pretends to be, or PTX for one that is not
// newer, and contain the requested entry, and functions may only be launched in the context they were loaded in. A
// callback gets each launch. `test_driver_fail` makes a named call fail. This file: modules, functions and
// launches.
#include "driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cubin.h"
#include "occupancy.h"

namespace standin {

std::mutex g_mutex;
std::set<void const*> g_live;

namespace {

using Callback = int (*)(char const* name, unsigned const* grid, unsigned block, unsigned shared, void** arguments,
                         void* stream);
struct Failure {
  int result;
  int skip;
};
// Limits of one multiprocessor (plugins/architectures.py has the table): what a GPU's driver says of it. How many
// blocks fit then, NVIDIA's own calculator answers.
struct Limits {
  int warps, shared, shared_reserved;
};

Callback g_callback = nullptr;
int g_capability = 87;
Limits g_limits{48, 164 * 1024, 1024};
std::map<std::string, int> g_calls;
std::map<std::string, Failure> g_failures;
std::vector<std::unique_ptr<Module>> g_modules;
std::vector<std::unique_ptr<Function>> g_functions;

template <typename T>
T read(unsigned char const* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

constexpr char kTarget[] = "\n.target sm_";

}  // namespace

int enter(char const* name) {
  std::lock_guard<std::mutex> lock(g_mutex);
  ++g_calls[name];
  auto const failure = g_failures.find(name);
  if (failure == g_failures.end()) return kSuccess;
  return failure->second.skip-- > 0 ? kSuccess : failure->second.result;
}

int run(Launch const& launch, void* stream) {
  Callback callback = nullptr;
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    callback = g_callback;
  }
  if (callback == nullptr) return kSuccess;
  return callback(launch.function->name.c_str(), launch.grid, launch.block, launch.shared,
                  const_cast<void**>(launch.arguments.data()), stream);
}

void forget_modules(unsigned long long context) {  // g_mutex is held
  for (auto const& module : g_modules) {
    if (module->context == context) g_live.erase(module.get());
  }
  for (auto const& function : g_functions) {
    if (function->context == context) g_live.erase(function.get());
  }
}

}  // namespace standin

using namespace standin;

DRIVER_CALL cuModuleLoadData(void** module, void const* image) {
  ENTER(cuModuleLoadData);
  if (int const refused = refuse_in_capture()) return refused;
  auto const* bytes = static_cast<unsigned char const*>(image);
  if (int const unusable = usable_context()) return unusable;
  if (is_ptx(bytes)) {
    char const* const text = static_cast<char const*>(image);
    char const* const target = std::strstr(text, kTarget);
    std::lock_guard<std::mutex> lock(g_mutex);
    if (target == nullptr) return kInvalidPtx;
    if (std::atoi(target + std::strlen(kTarget)) > g_capability) return kNoBinaryForGpu;
    g_modules.push_back(std::make_unique<Module>(Module{current_context(), bytes, std::strlen(text) + 1}));
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
  std::size_t const size =
      read<uint64_t>(bytes + 40) + std::size_t{read<uint16_t>(bytes + 58)} * read<uint16_t>(bytes + 60);
  g_modules.push_back(std::make_unique<Module>(Module{current_context(), bytes, size}));
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
  // ".text.NAME" of a cubin ends in a zero, ".entry NAME" of PTX in a bracket.
  bool const ptx = is_ptx(found->image);
  std::string const entry = ptx ? std::string(".entry ") + name + "(" : std::string(".text.") + name;
  if (memmem(found->image, found->size, entry.c_str(), entry.size() + (ptx ? 0 : 1)) == nullptr) return kNotFound;
  g_functions.push_back(std::make_unique<Function>(Function{found->context, name, found}));
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

DRIVER_CALL cuFuncGetAttribute(int* value, int attribute, void* function) {
  ENTER(cuFuncGetAttribute);
  std::lock_guard<std::mutex> lock(g_mutex);
  if (g_live.count(function) == 0) return kInvalidHandle;
  auto const* asked = static_cast<Function const*>(function);
  Cubin const facts = read_cubin(asked->module->image, asked->module->size, asked->name);
  switch (attribute) {
    case 0:
      *value = facts.threads;
      return kSuccess;
    case 3:
      *value = facts.local;
      return kSuccess;
    case 4:
      *value = facts.registers;
      return kSuccess;
    case 6:
      *value = g_capability;
      return kSuccess;
    case 8:
      *value = static_cast<int>(asked->max_shared);
      return kSuccess;
    default:
      return kInvalidValue;
  }
}

DRIVER_CALL cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, std::size_t shared) {
  ENTER(cuOccupancyMaxActiveBlocksPerMultiprocessor);
  std::lock_guard<std::mutex> lock(g_mutex);
  if (g_live.count(function) == 0) return kInvalidHandle;
  auto const* asked = static_cast<Function const*>(function);
  int const registers = read_cubin(asked->module->image, asked->module->size, asked->name).registers;
  auto const* const limits = &g_limits;
  *blocks = test_driver_blocks(g_capability == 121 ? 120 : g_capability, registers, threads, shared, limits->warps,
                               limits->shared, limits->shared_reserved);
  return *blocks >= 0 ? kSuccess : kInvalidValue;
}

DRIVER_CALL cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                           unsigned shared, void* stream, void** arguments, void** extra) {
  ENTER(cuLaunchKernel);
  Launch launch;
  Stream* recorder = nullptr;
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    if (g_live.count(function) == 0) return kInvalidHandle;
    auto const* asked = static_cast<Function const*>(function);
    if (asked->context != current_context()) return kInvalidContext;
    if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || by != 1 || bz != 1 || extra != nullptr ||
        shared > asked->max_shared) {
      return kInvalidValue;
    }
    launch.function = asked;
    launch.grid[0] = gx;
    launch.grid[1] = gy;
    launch.grid[2] = gz;
    launch.block = bx;
    launch.shared = shared;
    launch.arguments.assign(arguments,
                            arguments + read_cubin(asked->module->image, asked->module->size, asked->name).parameters);
    recorder = capturing(stream);
    if (recorder != nullptr) {
      auto node = std::make_shared<Node>();
      Launch& kept = node->launch = launch;
      for (void* const argument : launch.arguments) {
        kept.values.push_back(read<uint64_t>(static_cast<unsigned char*>(argument)));
      }
      for (std::size_t i = 0; i < kept.values.size(); ++i) kept.arguments[i] = &kept.values[i];
      recorder->captured.push_back(std::move(node));
    }
  }
  return recorder == nullptr ? run(launch, stream) : static_cast<int>(kSuccess);
}

DRIVER_CALL cuGetErrorName(int result, char const** name) {
  static std::map<int, char const*> const names = {{kInvalidValue, "CUDA_ERROR_INVALID_VALUE"},
                                                   {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                   {kNoDevice, "CUDA_ERROR_NO_DEVICE"},
                                                   {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE"},
                                                   {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT"},
                                                   {kNoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                                                   {kInvalidPtx, "CUDA_ERROR_INVALID_PTX"},
                                                   {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE"},
                                                   {kIllegalState, "CUDA_ERROR_ILLEGAL_STATE"},
                                                   {kNotFound, "CUDA_ERROR_NOT_FOUND"},
                                                   {kContextIsDestroyed, "CUDA_ERROR_CONTEXT_IS_DESTROYED"},
                                                   {719, "CUDA_ERROR_LAUNCH_FAILED"},
                                                   {kCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
                                                   {kCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"}};
  auto const found = names.find(result);
  if (found == names.end()) return kInvalidValue;
  *name = found->second;
  return kSuccess;
}
DRIVER_CALL cuGetErrorString(int result, char const** text) { return cuGetErrorName(result, text); }

// How cuda-bindings finds everything: the newest form of each name that this library has.
DRIVER_CALL cuGetProcAddress_v2(char const* symbol, void** address, int version, uint64_t, int* status) {
  ENTER(cuGetProcAddress_v2);
  std::string const name = symbol;
  std::vector<std::string> forms = {name + "_v2", name};
  if (name == "cuCtxCreate" && version >= 12050) forms.insert(forms.begin(), name + "_v4");
  if (name == "cuGraphInstantiate") forms = {"cuGraphInstantiateWithFlags"};
  Dl_info self{};
  dladdr(reinterpret_cast<void*>(&cuGetProcAddress_v2), &self);
  void* const library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  *address = nullptr;
  for (std::string const& form : forms) {
    if (*address == nullptr && library != nullptr) *address = dlsym(library, form.c_str());
  }
  if (library != nullptr) dlclose(library);
  if (status != nullptr) *status = *address == nullptr ? 1 : 0;
  return *address == nullptr ? kNotFound : kSuccess;
}

// ---- For the tests ----

namespace standin {
int capability() { return g_capability; }
}  // namespace standin

TEST_CALL void test_driver_reset() {
  reset_streams();
  reset_contexts();
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
TEST_CALL void test_driver_set_limits(int warps, int shared, int shared_reserved) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_limits = {warps, shared, shared_reserved};
}
TEST_CALL void test_driver_set_context(unsigned long long context) { set_only_context(context); }
// The (skip + 1)-th and every later call of `name` returns `result`.
TEST_CALL void test_driver_fail(char const* name, int result, int skip) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_failures[name] = {result, skip};
}
TEST_CALL int test_driver_calls(char const* name) {
  std::lock_guard<std::mutex> lock(g_mutex);
  return g_calls[name];
}
