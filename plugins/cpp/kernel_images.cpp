#include "kernel_images.h"

#include "cda_generated.h"

namespace mutualformer {

KernelImage const* find_image(int32_t capability, Kernel kernel, Type type, int64_t head_dim) {
  int32_t const architecture = capability == 121 ? 120 : capability;
  KernelImage const* best = nullptr;
  for (KernelImage const& image : generated::kImages) {
    if (image.architecture != architecture || image.kernel != kernel || image.type != type) continue;
    if (head_dim > image.block_d || head_dim % image.unit != 0) continue;
    // The narrowest padding, then the widest unit.
    if (best == nullptr || image.block_d < best->block_d ||
        (image.block_d == best->block_d && image.unit > best->unit)) {
      best = &image;
    }
  }
  return best;
}

}  // namespace mutualformer
