#include "cda_schedule.h"

#include <algorithm>

namespace mutualformer {
namespace {

constexpr std::size_t kAlignment = 256;  // as cudaMalloc; the kernels themselves rely on 16 bytes

std::size_t round_up(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

int32_t pair_buffers(Attributes const& a) {
  int32_t const powers = (a.value_pairing == ValuePairing::kFigure ? 1 : 0) + (a.init == Init::kCross ? 1 : 0) +
                         a.iterations - 1;        // u_k and A_0 u_T outside the outputs; two take turns
  return std::min(powers, 2) + a.iterations - 1;  // and R_1 … R_{T−1}
}

Schedule make_schedule(Attributes const& a, Shape const& shape, Type type) {
  std::size_t const heads = static_cast<std::size_t>(a.num_heads);
  std::size_t const c = heads * static_cast<std::size_t>(shape.head_dim) * element_size(type);  // one row, bytes
  std::size_t const rows = static_cast<std::size_t>(shape.batch) * static_cast<std::size_t>(shape.tokens);
  std::size_t const lse = 2 * rows * heads * sizeof(float);
  std::size_t const tensor = round_up(rows * c);
  int32_t const buffers = pair_buffers(a);
  int32_t const turns = buffers - (a.iterations - 1);  // 0, 1 or 2 buffers that the powers take in turn

  Schedule schedule;
  schedule.workspace_bytes = buffers == 0 ? lse : round_up(lse) + static_cast<std::size_t>(buffers) * 2 * tensor;
  auto const workspace = [&](int32_t index) {
    std::size_t const begin = round_up(lse) + static_cast<std::size_t>(index) * 2 * tensor;
    return Pair{{Base::kWorkspace, begin}, {Base::kWorkspace, begin + tensor}, 1};
  };
  int32_t turn = 0;
  auto const next_power = [&] { return workspace(turn++ % std::max(turns, 1)); };

  Pair const keys{{Base::kQkvR, c}, {Base::kQkvD, c}, 3};
  Pair const values{{Base::kQkvR, 2 * c}, {Base::kQkvD, 2 * c}, 3};
  Pair const outputs{{Base::kYR, 0}, {Base::kYD, 0}, 2};
  Pair const diffused{{Base::kYR, c}, {Base::kYD, c}, 2};
  auto const exchanged = [](Pair const& pair) { return Pair{pair.d, pair.r, pair.width}; };

  // k = 0. Released: x = (V_d, V_r), so u_1 = (P_d V_d, P_r V_r) = (out_d, out_r) goes straight into the outputs.
  std::vector<Pair> residuals{diffused};
  Pair u;
  if (a.value_pairing == ValuePairing::kReleased) {
    u = exchanged(outputs);
    schedule.launches.push_back({Kernel::kRows, keys, exchanged(values), u, u, diffused, kNext | kResidual | kLse});
  } else {
    u = next_power();
    schedule.launches.push_back({Kernel::kRows, keys, values, outputs, u, diffused, kSelf | kNext | kResidual | kLse});
  }
  for (int32_t k = 1; k < a.iterations; ++k) {
    Pair const following = next_power();
    residuals.push_back(workspace(turns + k - 1));
    schedule.launches.push_back({Kernel::kRows, keys, u, following, following, residuals.back(), kNext | kResidual});
    u = following;
  }
  Pair g = u;
  if (a.init == Init::kCross) {
    g = next_power();
    schedule.launches.push_back({Kernel::kRows, exchanged(keys), u, g, g, g, kSelf});
  }
  for (auto residual = residuals.rbegin(); residual != residuals.rend(); ++residual) {
    schedule.launches.push_back({Kernel::kColumns, keys, g, *residual, *residual, *residual, 0});
    g = *residual;
  }
  return schedule;
}

}  // namespace mutualformer
