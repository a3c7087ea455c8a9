// The table of embedded kernels, which plugins/compile/aot.py compiled, and the choice of one for a device.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mutualformer {

enum class Kernel : int32_t { kRows = 0, kColumns = 1 };
enum class Type : int32_t { kFloat = 0, kHalf = 1, kBrain = 2 };  // FP32, FP16, BF16

inline constexpr std::size_t element_size(Type type) { return type == Type::kFloat ? 4 : 2; }

struct KernelImage {
  char const* name;      // entry point, e.g. cda_rows_fp16_d64_u8
  int32_t architecture;  // 87 = sm_87; for PTX the oldest it runs on
  bool ptx;              // text for the driver to compile, ending in a zero, instead of machine code
  Kernel kernel;
  Type type;
  int32_t block_d;     // columns a head is padded to
  int32_t unit;        // head_dim must be a multiple of this
  int32_t tactic;      // index of the variant's tile, from 1
  int32_t block_m;     // tokens per program
  int32_t block_n;     // tokens per step of its loop
  int32_t warps;       // 32 threads each
  uint32_t shared;     // dynamic shared memory, bytes
  int32_t parameters;  // number of kernel parameters, Triton's two unused scratch pointers included
  std::size_t offset;  // of the image in the embedded blob
  std::size_t size;    // bytes
};

// First byte of the embedded images (plugins/cpp/cubins.S).
extern "C" unsigned char const mutualformer_cubins[];

// The image for a device of compute capability `capability` (87 = 8.7), or nullptr if there is none. A device runs only
// cubins of its own architecture (sm_121 those of sm_120), so that it never runs code that was not tested for it. A
// newer device without cubins gets PTX, and so does every device under MUTUALFORMER_KERNELS=ptx, which tests that path.
// `tactic` chooses among tiles; where an architecture has fewer, the nearest below is taken. 0 means 1.
KernelImage const* find_image(int32_t capability, Kernel kernel, Type type, int64_t head_dim, int32_t tactic);

// Number of tactics for a type and head_dim over all architectures; 0 where they are not supported.
int32_t count_tactics(Type type, int64_t head_dim);

}  // namespace mutualformer
