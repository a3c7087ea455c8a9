#include "cda_schedule.h"

#include "cda_generated.h"

namespace mutualformer {
namespace {

static_assert(kMaxLaunches == 2 * generated::kMaxIterations + 1);

constexpr std::size_t kAlignment = 256;  // bytes, as cudaMalloc aligns; the kernels need 16

std::size_t round_up(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

Pair exchanged(Pair const& pair) { return Pair{pair.d, pair.r, pair.width}; }

}  // namespace

int32_t workspace_pairs(Attributes const& a) {
  bool const cross = a.init == Init::kCross, figure = a.value_pairing == ValuePairing::kFigure;
  return 2 * (a.iterations - 1) + (cross ? 1 : 0) + (figure && !cross && a.iterations == 1 ? 1 : 0);
}

Schedule make_schedule(Attributes const& a, Shape const& shape, Type type) {
  std::size_t const heads = static_cast<std::size_t>(a.num_heads);
  std::size_t const c = heads * static_cast<std::size_t>(shape.head_dim) * element_size(type);  // one row, bytes
  std::size_t const rows = static_cast<std::size_t>(shape.batch) * static_cast<std::size_t>(shape.tokens);
  std::size_t const lse = 2 * rows * heads * sizeof(float);
  std::size_t const tensor = round_up(rows * c);
  std::size_t const pairs = static_cast<std::size_t>(workspace_pairs(a));

  Schedule schedule;
  schedule.workspace_bytes = pairs == 0 ? lse : round_up(lse) + pairs * 2 * tensor;
  auto const add = [&](Launch const& launch) {
    schedule.launches[static_cast<std::size_t>(schedule.count++)] = launch;
  };
  std::size_t free = round_up(lse);
  auto const workspace = [&] {
    Pair const pair{{Base::kWorkspace, free}, {Base::kWorkspace, free + tensor}, 1};
    free += 2 * tensor;
    return pair;
  };

  Pair const keys{{Base::kQkvR, c}, {Base::kQkvD, c}, 3};
  Pair const values{{Base::kQkvR, 2 * c}, {Base::kQkvD, 2 * c}, 3};
  Pair const outputs{{Base::kYR, 0}, {Base::kYD, 0}, 2};
  Pair const diffused{{Base::kYR, c}, {Base::kYD, c}, 2};
  bool const cross = a.init == Init::kCross;
  int32_t const last = a.iterations - 1;

  Launch first{Kernel::kRows, keys, {}, {}, {}, {}, generated::kWriteNext | generated::kWriteLse};
  if (a.value_pairing == ValuePairing::kReleased) {
    // x = (V_d, V_r): u_1 = (P_d V_d, P_r V_r) = (out_d, out_r) is written straight into the outputs.
    first.x = exchanged(values);
    first.own = diffused;
    first.following = exchanged(outputs);
  } else {
    // x = (V_r, V_d): P_m V_m is out_m. u_1 may lie where the result goes unless cda_columns still multiplies it.
    first.x = values;
    first.own = outputs;
    first.following = cross || last > 0 ? diffused : workspace();
  }
  add(first);
  for (int32_t k = 1; k <= last; ++k) {
    Pair const u = schedule.launches[static_cast<std::size_t>(k - 1)].following;
    Pair const own = workspace();
    add({Kernel::kRows, keys, u, own, workspace(), {}, generated::kWriteNext});
  }
  Pair g = schedule.launches[static_cast<std::size_t>(last)].following;
  if (cross) {
    Pair const start = workspace();
    add({Kernel::kRows, exchanged(keys), g, start, start, {}, 0});
    g = start;
  }
  for (int32_t k = last; k >= 0; --k) {
    Launch const& made = schedule.launches[static_cast<std::size_t>(k)];
    Pair const result = k > 0 ? made.own : diffused;
    add({Kernel::kColumns, keys, g, made.own, made.following, result, 0});
    g = result;
  }
  return schedule;
}

}  // namespace mutualformer
