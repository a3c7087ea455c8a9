// Loaded kernels per CUDA context. Each image is loaded once in each context, before the first enqueue.
#pragma once
#include <string>

#include "cuda_driver.h"
#include "kernel_images.h"

namespace mutualformer {

struct LoadedKernel {
  CuFunction function = nullptr;
  KernelImage const* image = nullptr;
};

// Loads `kernel` in the tile of `tactic` into the current context, unless it is loaded there already. Thread-safe. On
// failure it returns false and fills `error`. Modules are never unloaded: TensorRT may destroy a context before the
// plugin, and unloading from a destroyed context is undefined.
bool load_kernel(Kernel kernel, Type type, int64_t head_dim, int32_t tactic, LoadedKernel& loaded, std::string& error);

}  // namespace mutualformer
