// What a cubin says about its kernel, as a driver reports it.
#pragma once
#include <cstddef>
#include <string>

namespace standin {

struct Cubin {
  int registers = 0;   // per thread
  int local = 0;       // bytes of local memory per thread: spills live there
  int threads = 0;     // the block it must be launched with, 0 if it does not say
  int parameters = 0;  // kernel arguments
};

// Reads the .nv.info sections of an ELF cubin; zeros for what it does not find.
Cubin read_cubin(unsigned char const* image, std::size_t size, std::string const& kernel);

// PTX is text that begins with a comment or its version; `read_cubin` reads it too, up to its terminating zero.
bool is_ptx(unsigned char const* image);

}  // namespace standin
