// The CUDA driver functions that the plugin calls. They are resolved at run time, so the plugin loads without a driver.
#pragma once
#include <cstdint>
#include <string>

namespace mutualformer {

using CuResult = int;  // CUresult: 0 is success
using CuContext = struct CUctx_st*;
using CuModule = struct CUmod_st*;
using CuFunction = struct CUfunc_st*;
using CuStream = struct CUstream_st*;

struct CudaDriver {
  CuResult (*cuCtxGetCurrent)(CuContext*) = nullptr;
  CuResult (*cuCtxGetDevice)(int*) = nullptr;
  CuResult (*cuCtxGetId)(CuContext, unsigned long long*) = nullptr;  // since CUDA 12.0; null with older drivers
  CuResult (*cuDeviceGetAttribute)(int*, int, int) = nullptr;
  CuResult (*cuGetErrorName)(CuResult, char const**) = nullptr;
  CuResult (*cuModuleLoadData)(CuModule*, void const*) = nullptr;
  CuResult (*cuModuleGetFunction)(CuFunction*, CuModule, char const*) = nullptr;
  CuResult (*cuModuleUnload)(CuModule) = nullptr;
  CuResult (*cuFuncSetAttribute)(CuFunction, int, int) = nullptr;
  CuResult (*cuLaunchKernel)(CuFunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CuStream,
                             void**, void**) = nullptr;

  std::string error;  // why the driver cannot be used; empty if it can

  // "cuLaunchKernel failed: CUDA_ERROR_LAUNCH_FAILED (719)"
  std::string describe(char const* call, CuResult result) const;
};

// The process's driver, loaded on first use. Never throws; check `error`.
CudaDriver const& cuda_driver();

}  // namespace mutualformer
