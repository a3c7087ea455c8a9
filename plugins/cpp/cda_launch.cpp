#include "cda_launch.h"

#include <algorithm>
#include <cmath>

namespace mutualformer {
namespace {

constexpr int32_t kMaxParameters = 32;
constexpr int32_t kLargestLseShift = 14;  // P / w is at most 2^14 and fits FP16
constexpr double kLog2E = 1.4426950408889634;

// The kernel arguments in order. cuLaunchKernel takes an array of pointers to them.
class Arguments {
 public:
  void pointer(void const* value) { add(slots_[count_].pointer = value); }
  void integer(int64_t value) { add(slots_[count_].integer = static_cast<int32_t>(value)); }
  void number(double value) { add(slots_[count_].number = static_cast<float>(value)); }
  int32_t count() const { return count_; }
  void** data() { return addresses_.data(); }

 private:
  union Slot {
    void const* pointer;
    int32_t integer;
    float number;
  };
  template <typename T>
  void add(T const&) {
    addresses_[static_cast<size_t>(count_)] = &slots_[count_];
    ++count_;
  }
  Slot slots_[kMaxParameters] = {};
  std::array<void*, kMaxParameters> addresses_{};
  int32_t count_ = 0;
};

// w = 2^-⌊log2 N⌋, at least 2^-14 (plugins/kernels/cda.py).
double lse_weight(int64_t tokens) {
  int32_t shift = 0;
  while (shift < kLargestLseShift && (tokens >> (shift + 1)) != 0) ++shift;
  return std::ldexp(1.0, -shift);
}

}  // namespace

bool enqueue_launch(Launch const& launch, LoadedKernel const& kernel, Attributes const& attributes, Shape const& shape,
                    Buffers const& buffers, void* stream, std::string& error) {
  KernelImage const& image = *kernel.image;
  Arguments arguments;
  auto const address = [&](Address const& a) {
    arguments.pointer(static_cast<unsigned char const*>(buffers.base[static_cast<size_t>(a.base)]) + a.bytes);
  };
  auto const pair = [&](Pair const& p) {
    address(p.r);
    address(p.d);
  };
  double const scale_log2 = kLog2E / std::sqrt(static_cast<double>(shape.head_dim));
  double const weight = lse_weight(shape.tokens);
  double const alpha = static_cast<double>(attributes.alpha);

  bool const rows = launch.kernel == Kernel::kRows;
  pair({{Base::kQkvR, 0}, {Base::kQkvD, 0}, 3});  // Q_r, Q_d
  pair(launch.keys);
  pair(launch.x);
  pair(launch.own);
  pair(launch.following);
  if (!rows) pair(launch.result);
  address({Base::kWorkspace, 0});  // log-sum-exp
  arguments.integer(shape.tokens);
  arguments.integer(attributes.num_heads);
  arguments.integer(shape.head_dim / image.unit);
  arguments.integer(launch.keys.width);
  arguments.integer(launch.x.width);
  arguments.integer(launch.own.width);
  arguments.integer(launch.following.width);
  arguments.integer(rows ? launch.writes : launch.result.width);
  arguments.number(scale_log2);
  arguments.number(rows ? weight : alpha * weight);
  if (!rows) arguments.number(1.0 - alpha);
  arguments.pointer(nullptr);  // Triton's global and profiling scratch, which these kernels do not use
  arguments.pointer(nullptr);
  if (arguments.count() != image.parameters) {
    error = std::string(image.name) + " takes " + std::to_string(image.parameters) + " parameters, the plugin has " +
            std::to_string(arguments.count()) + "; rebuild the plugin";
    return false;
  }
  unsigned const blocks = static_cast<unsigned>((shape.tokens + image.block_m - 1) / image.block_m);
  unsigned const matrices = static_cast<unsigned>(shape.batch * attributes.num_heads);
  unsigned const modalities = 2;
  unsigned const threads = static_cast<unsigned>(image.warps) * 32;
  CudaDriver const& driver = cuda_driver();
  CuResult const result = driver.cuLaunchKernel(kernel.function, blocks, matrices, modalities, threads, 1, 1,
                                                image.shared, static_cast<CuStream>(stream), arguments.data(), nullptr);
  if (result != 0) error = driver.describe("cuLaunchKernel", result) + " for " + image.name;
  return result == 0;
}

}  // namespace mutualformer
