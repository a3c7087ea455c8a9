// One CDA as a list of kernel launches and a workspace. Nothing else computes either.
//
// With u_0 = V, u_{k+1} = P_o u_k (o the other modality) and g = A_0 u_T, the operator is
// g ← α P_mᵀ g + (1 − α)(P_m u_k + u_{k+1}) for k = T − 1 … 0 (train/cda.py). A rows launch makes P_m u_k ("own") and
// u_{k+1} ("following") for both directions, a columns launch takes the step. plugins/kernels/schedule.py is the same
// in Python; a test compares the two for every combination of attributes.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernel_images.h"

namespace mutualformer {

enum class Init : int32_t { kIdentity = 0, kCross = 1 };           // order of attributes.INITS
enum class ValuePairing : int32_t { kReleased = 0, kFigure = 1 };  // order of attributes.VALUE_PAIRINGS

struct Attributes {
  int32_t num_heads = 0;
  float alpha = 0.F;
  int32_t iterations = 1;
  Init init = Init::kIdentity;
  ValuePairing value_pairing = ValuePairing::kReleased;
};

struct Shape {
  int64_t batch = 0;
  int64_t tokens = 0;
  int64_t head_dim = 0;

  bool operator==(Shape const& other) const {
    return batch == other.batch && tokens == other.tokens && head_dim == other.head_dim;
  }
};

// A tensor (B, N, width · C): `base` moved by `bytes`.
enum class Base : int32_t { kQkvR, kQkvD, kYR, kYD, kWorkspace };
struct Address {
  Base base = Base::kWorkspace;
  std::size_t bytes = 0;
};
struct Pair {  // one tensor for direction r and one for d
  Address r, d;
  int32_t width = 0;  // row length as a multiple of C
};

struct Launch {
  Kernel kernel = Kernel::kRows;
  Pair keys;           // K_r, K_d; exchanged for the cross-attention affinity (queries are always Q_r, Q_d)
  Pair x;              // rows: u_k; columns: g
  Pair own;            // P_m u_k: rows writes it, columns reads it
  Pair following;      // u_{k+1}: rows writes it, columns reads it
  Pair result;         // columns only
  int32_t writes = 0;  // rows: kWriteNext, kWriteLse
};

inline constexpr int32_t kMaxLaunches = 33;  // 2 · MAX_ITERATIONS + 1

// Fixed in size, because enqueue may have to make one and must not allocate.
struct Schedule {
  std::array<Launch, kMaxLaunches> launches;
  int32_t count = 0;
  std::size_t workspace_bytes = 0;  // begins with the log-sum-exp, float32 (2, B · heads, N)

  Launch const* begin() const { return launches.data(); }
  Launch const* end() const { return launches.data() + count; }
};

// Launches: 2 · iterations (+ 1 for init = cross). Workspace: the log-sum-exp, 2 · B · heads · N · 4 bytes, and
// where `workspace_pairs` is not 0, rounded up to 256, that many pairs of 256-byte-rounded (B, N, C) tensors.
Schedule make_schedule(Attributes const& attributes, Shape const& shape, Type type);

// Pairs of (B, N, C) tensors in the workspace: 2 (T − 1) + [cross] + [figure, T = 1 and identity].
int32_t workspace_pairs(Attributes const& attributes);

}  // namespace mutualformer
