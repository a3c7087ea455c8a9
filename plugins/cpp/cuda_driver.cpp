#include "cuda_driver.h"

#include <dlfcn.h>

namespace mutualformer {
namespace {

constexpr char kLibrary[] = "libcuda.so.1";

CudaDriver open_driver() {
  CudaDriver driver;
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    char const* const reason = dlerror();
    driver.error = std::string("the CUDA driver could not be loaded (") + (reason ? reason : kLibrary) +
                   "); running this engine needs an NVIDIA driver";
    return driver;
  }
  auto const resolve = [&](auto& function, char const* name, bool required = true) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
    if (function == nullptr && required) driver.error = std::string(kLibrary) + " lacks " + name;
  };
  resolve(driver.cuCtxGetCurrent, "cuCtxGetCurrent");
  resolve(driver.cuCtxGetDevice, "cuCtxGetDevice");
  resolve(driver.cuCtxGetId, "cuCtxGetId", false);
  resolve(driver.cuDeviceGetAttribute, "cuDeviceGetAttribute");
  resolve(driver.cuGetErrorName, "cuGetErrorName");
  resolve(driver.cuModuleLoadData, "cuModuleLoadData");
  resolve(driver.cuModuleGetFunction, "cuModuleGetFunction");
  resolve(driver.cuModuleUnload, "cuModuleUnload");
  resolve(driver.cuFuncSetAttribute, "cuFuncSetAttribute");
  resolve(driver.cuLaunchKernel, "cuLaunchKernel");
  return driver;  // keep the library open: the process uses its functions until it ends
}

}  // namespace

std::string CudaDriver::describe(char const* call, CuResult result) const {
  char const* name = nullptr;
  if (cuGetErrorName == nullptr || cuGetErrorName(result, &name) != 0 || name == nullptr) name = "unknown error";
  return std::string(call) + " failed: " + name + " (" + std::to_string(result) + ")";
}

CudaDriver const& cuda_driver() {
  static CudaDriver const driver = open_driver();
  return driver;
}

}  // namespace mutualformer
