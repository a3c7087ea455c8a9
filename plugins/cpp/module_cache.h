// Loaded kernels per CUDA context: each image is loaded once in each context, before the first enqueue.
#pragma once
#include <string>

#include "cuda_driver.h"
#include "kernel_images.h"

namespace mutualformer {

struct LoadedKernel {
  CuFunction function = nullptr;
  KernelImage const* image = nullptr;
};

// Loads `kernel` in the tile of `tactic` for the calling thread's current context, or finds it loaded. Thread-safe. On
// failure returns false and a sentence in `error`. Modules live as long as their context: TensorRT may destroy a
// context before the plugin, and unloading from a dead context is not defined.
bool load_kernel(Kernel kernel, Type type, int64_t head_dim, int32_t tactic, LoadedKernel& loaded, std::string& error);

}  // namespace mutualformer
