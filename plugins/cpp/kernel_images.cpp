#include "kernel_images.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "cda_generated.h"

namespace mutualformer {
namespace {

bool serves(KernelImage const& image, Type type, int64_t head_dim) {
  return image.type == type && head_dim <= image.block_d && head_dim % image.unit == 0;
}

// Prefers the narrowest padding, then the widest unit, then the highest tactic.
bool better(KernelImage const& a, KernelImage const& b) {
  if (a.block_d != b.block_d) return a.block_d < b.block_d;
  if (a.unit != b.unit) return a.unit > b.unit;
  return a.tactic > b.tactic;
}

int32_t runs_as(int32_t capability) {
  for (auto const& [own, other] : generated::kRunsAs) {
    if (own == capability) return other;
  }
  return capability;
}

bool ptx_wanted() {
  char const* const kernels = std::getenv("MUTUALFORMER_KERNELS");
  return kernels != nullptr && std::string_view(kernels) == "ptx";
}

template <typename Suits>
KernelImage const* best_image(Suits&& suits) {
  KernelImage const* best = nullptr;
  for (KernelImage const& image : generated::kImages) {
    if (suits(image) && (best == nullptr || better(image, *best))) best = &image;
  }
  return best;
}

}  // namespace

KernelImage const* find_image(int32_t capability, Kernel kernel, Type type, int64_t head_dim, int32_t tactic) {
  int32_t const architecture = runs_as(capability);
  auto const suits = [&](KernelImage const& image) {
    return image.kernel == kernel && serves(image, type, head_dim) && image.tactic <= std::max(tactic, 1);
  };
  if (!ptx_wanted()) {
    bool known = false;
    for (KernelImage const& image : generated::kImages) known |= !image.ptx && image.architecture == architecture;
    if (known) {
      return best_image([&](KernelImage const& i) { return !i.ptx && i.architecture == architecture && suits(i); });
    }
  }
  return best_image([&](KernelImage const& i) { return i.ptx && i.architecture <= capability && suits(i); });
}

int32_t count_tactics(Type type, int64_t head_dim) {
  KernelImage const* const best = best_image([&](KernelImage const& i) { return serves(i, type, head_dim); });
  return best == nullptr ? 0 : best->tactic;
}

}  // namespace mutualformer
