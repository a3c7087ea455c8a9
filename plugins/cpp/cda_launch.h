// Turns a scheduled launch into cuLaunchKernel: addresses, grid and the argument list of the Triton kernels.
#pragma once
#include <array>
#include <string>

#include "cda_schedule.h"
#include "module_cache.h"

namespace mutualformer {

// The addresses of one enqueue, by Base.
struct Buffers {
  std::array<void const*, 5> base;
};

// Enqueues one launch on `stream`, without allocation or synchronisation. On failure returns false and fills `error`.
bool enqueue_launch(Launch const& launch, LoadedKernel const& kernel, Attributes const& attributes, Shape const& shape,
                    Buffers const& buffers, void* stream, std::string& error);

}  // namespace mutualformer
