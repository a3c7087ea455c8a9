// The table of embedded cubins: what plugins/compile/aot.py compiled, and how one is chosen for a device.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mutualformer {

enum class Kernel : int32_t { kRows = 0, kColumns = 1 };
enum class Type : int32_t { kFloat = 0, kHalf = 1 };

inline constexpr std::size_t element_size(Type type) { return type == Type::kHalf ? 2 : 4; }

struct KernelImage {
  char const* name;      // entry point, e.g. cda_rows_fp16_d64_u8
  int32_t architecture;  // 87 = sm_87
  Kernel kernel;
  Type type;
  int32_t block_d;     // columns a head is padded to
  int32_t unit;        // head_dim must be a multiple of this
  int32_t block_m;     // tokens per program
  int32_t warps;       // 32 threads each
  uint32_t shared;     // dynamic shared memory, bytes
  int32_t parameters;  // number of kernel parameters, Triton's two unused scratch pointers included
  std::size_t offset;  // of the cubin in the embedded blob
  std::size_t size;    // bytes
};

// First byte of the embedded cubins (plugins/cpp/cubins.S).
extern "C" unsigned char const mutualformer_cubins[];

// The image for a device of compute capability `capability` (87 = 8.7), or nullptr if there is none. sm_121 runs
// sm_120 code; otherwise architectures must match, so that a device never runs code nobody meant for it.
KernelImage const* find_image(int32_t capability, Kernel kernel, Type type, int64_t head_dim);

}  // namespace mutualformer
