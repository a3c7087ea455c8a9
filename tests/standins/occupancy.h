#pragma once
#include <cstddef>

// Blocks of `threads` threads that fit on one multiprocessor of sm_`capability`, by NVIDIA's cuda_occupancy.h; negative
// where it cannot say. `registers` per thread, `shared` dynamic bytes per block; the rest: of the multiprocessor.
extern "C" int test_driver_blocks(int capability, int registers, int threads, std::size_t shared, int warps,
                                  int shared_of_all, int shared_reserved);
