// One CDA as a list of kernel launches and a workspace: the only place where either is computed.
//
// With u_0 = V, u_{k+1} = P_o u_k, R_k = (1 − α)(P_m + P_o) u_k and g = A_0 u_T, the operator is
// g ← α P_mᵀ g + R_{T−t} for t = 1 … T (train/cda.py). A rows launch makes u_{k+1} and R_k for both directions,
// a columns launch adds α P_mᵀ g to an R in place; R_0 lives in the output.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernel_images.h"

namespace mutualformer {

enum class Init : int32_t { kIdentity = 0, kCross = 1 };                  // order of attributes.INITS
enum class ValuePairing : int32_t { kReleased = 0, kFigure = 1 };         // order of attributes.VALUE_PAIRINGS
enum Writes : int32_t { kSelf = 1, kNext = 2, kResidual = 4, kLse = 8 };  // bits of cda_rows' `writes`

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
  Pair keys;      // K_r, K_d; exchanged for the cross-attention affinity (queries are always Q_r, Q_d)
  Pair x;         // rows: the values; columns: g
  Pair own;       // rows: P_m x_m; columns: the R that becomes g in place
  Pair next;      // rows: P_o x_m
  Pair residual;  // rows: (1 − α)(P_r + P_d) x_m
  int32_t writes = 0;
};

struct Schedule {
  std::vector<Launch> launches;
  std::size_t workspace_bytes = 0;  // begins with the log-sum-exp, float32 (2, B · heads, N)
};

// Launches: 2 · iterations (+ 1 for init = cross). Workspace: the log-sum-exp, 2 · B · heads · N · 4 bytes, and
// where `pair_buffers` is not 0, rounded up to 256, that many pairs of 256-byte-rounded (B, N, C) tensors.
Schedule make_schedule(Attributes const& attributes, Shape const& shape, Type type);

// Pairs of (B, N, C) tensors in the workspace: min(2, [figure] + [cross] + T − 1) + T − 1.
int32_t pair_buffers(Attributes const& attributes);

}  // namespace mutualformer
