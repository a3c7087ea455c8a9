#include "module_cache.h"

#include <map>
#include <mutex>
#include <utility>

#include "cda_generated.h"

namespace mutualformer {
namespace {

constexpr int kComputeCapabilityMajor = 75;       // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
constexpr int kComputeCapabilityMinor = 76;       // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
constexpr int kMaxDynamicSharedMemory = 8;        // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
constexpr uint32_t kDefaultSharedMemory = 49152;  // bytes a kernel may use without cuFuncSetAttribute

// The key holds the id of the context, because a new context may get the address of a destroyed one.
using Key = std::pair<unsigned long long, KernelImage const*>;

std::mutex g_mutex;

char const* type_name(Type type) { return type == Type::kFloat ? "FP32" : type == Type::kHalf ? "FP16" : "BF16"; }

std::map<Key, CuFunction>& functions() {
  static std::map<Key, CuFunction> map;
  return map;
}

}  // namespace

bool load_kernel(Kernel kernel, Type type, int64_t head_dim, int32_t tactic, LoadedKernel& loaded, std::string& error) {
  CudaDriver const& driver = cuda_driver();
  if (!driver.error.empty()) {
    error = driver.error;
    return false;
  }
  auto const check = [&](char const* call, CuResult result) {
    if (result != 0) error = driver.describe(call, result);
    return result == 0;
  };
  CuContext context = nullptr;
  int device = 0, major = 0, minor = 0;
  if (!check("cuCtxGetCurrent", driver.cuCtxGetCurrent(&context))) return false;
  if (context == nullptr) {
    error = "cuCtxGetCurrent found no CUDA context on this thread; make one current before using the engine";
    return false;
  }
  if (!check("cuCtxGetDevice", driver.cuCtxGetDevice(&device)) ||
      !check("cuDeviceGetAttribute", driver.cuDeviceGetAttribute(&major, kComputeCapabilityMajor, device)) ||
      !check("cuDeviceGetAttribute", driver.cuDeviceGetAttribute(&minor, kComputeCapabilityMinor, device))) {
    return false;
  }
  unsigned long long id = reinterpret_cast<unsigned long long>(context);
  if (driver.cuCtxGetId != nullptr && !check("cuCtxGetId", driver.cuCtxGetId(context, &id))) return false;

  std::string const gpu = "sm_" + std::to_string(10 * major + minor);
  KernelImage const* const image = find_image(10 * major + minor, kernel, type, head_dim, tactic);
  if (image == nullptr) {
    error = "this GPU is " + gpu + ", the plugin has kernels for " + generated::kArchitectures +
            " and PTX for newer GPUs (head_dim a multiple of 8), BF16 from sm_" +
            std::to_string(generated::kPtxArchitecture) + " on; none of these fits " + type_name(type) +
            " with head_dim " + std::to_string(head_dim) + "; rebuild it with that architecture";
    return false;
  }
  std::lock_guard<std::mutex> const lock(g_mutex);
  auto const found = functions().find({id, image});
  if (found != functions().end()) {
    loaded = {found->second, image};
    return true;
  }
  CuModule module = nullptr;
  CuFunction function = nullptr;
  if (!check("cuModuleLoadData", driver.cuModuleLoadData(&module, mutualformer_cubins + image->offset))) {
    if (image->ptx) error += " while the driver compiled the embedded PTX for " + gpu;
    return false;
  }
  bool ready = check("cuModuleGetFunction", driver.cuModuleGetFunction(&function, module, image->name));
  if (ready && image->shared > kDefaultSharedMemory) {
    ready = check("cuFuncSetAttribute",
                  driver.cuFuncSetAttribute(function, kMaxDynamicSharedMemory, static_cast<int>(image->shared)));
  }
  if (!ready) {
    driver.cuModuleUnload(module);
    return false;
  }
  functions()[{id, image}] = function;
  loaded = {function, image};
  return true;
}

}  // namespace mutualformer
