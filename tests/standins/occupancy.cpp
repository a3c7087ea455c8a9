// NVIDIA's occupancy calculator, compiled as it comes with the CUDA headers: an oracle that knows nothing of ours.
#define __OCC_INLINE inline
#include "occupancy.h"

#include <cuda_occupancy.h>

extern "C" __attribute__((visibility("default"))) int test_driver_blocks(int capability, int registers, int threads,
                                                                         std::size_t shared, int warps,
                                                                         int shared_of_all, int shared_reserved) {
  cudaOccDeviceProp device{};
  device.computeMajor = capability / 10;
  device.computeMinor = capability % 10;
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = 32 * warps;
  device.regsPerBlock = device.regsPerMultiprocessor = 65536;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 * 1024;
  device.sharedMemPerMultiprocessor = static_cast<std::size_t>(shared_of_all);
  device.numSms = 16;
  device.sharedMemPerBlockOptin = static_cast<std::size_t>(shared_of_all - shared_reserved);
  device.reservedSharedMemPerBlock = static_cast<std::size_t>(shared_reserved);
  cudaOccFuncAttributes kernel{};
  kernel.maxThreadsPerBlock = threads;
  kernel.numRegs = registers;
  kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
  kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  kernel.maxDynamicSharedSizeBytes = shared;
  kernel.numBlockBarriers = 1;
  cudaOccDeviceState state{};
  cudaOccResult result{};
  cudaOccError const error =
      cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, shared);
  return error == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : -static_cast<int>(error);
}
