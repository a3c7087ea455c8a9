#include "cubin.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace standin {
namespace {

// Attributes of .nv.info (NVIDIA's ELF, as nvdisasm and cuobjdump print them).
enum : unsigned char { kReqntid = 0x10, kFrameSize = 0x11, kKparamInfo = 0x17, kRegcount = 0x2f };
constexpr unsigned char kSized = 4;  // this entry has a payload; others keep their value in the size field

template <typename T>
T read(unsigned char const* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

template <typename Use>
void each_entry(unsigned char const* begin, unsigned char const* end, Use&& use) {
  while (end - begin >= 4) {
    std::size_t const size = begin[0] == kSized ? read<uint16_t>(begin + 2) : 0;
    if (static_cast<std::size_t>(end - begin) < 4 + size) return;
    use(begin[1], begin + 4, size);
    begin += 4 + size;
  }
}

// PTX says less: how many registers, only the driver's compiler will know.
Cubin read_ptx(std::string const& text, std::string const& kernel) {
  Cubin facts;
  std::size_t const entry = text.find(".entry " + kernel + "(");
  std::size_t const end = entry == std::string::npos ? entry : text.find('{', entry);
  if (end == std::string::npos) return facts;
  std::string const header = text.substr(entry, end - entry);
  for (std::size_t at = header.find(".param "); at != std::string::npos; at = header.find(".param ", at + 1)) {
    ++facts.parameters;
  }
  std::size_t const threads = header.find(".reqntid ");
  if (threads != std::string::npos) facts.threads = std::atoi(header.c_str() + threads + 9);
  return facts;
}

}  // namespace

bool is_ptx(unsigned char const* image) { return image[0] == '/' || image[0] == '.' || image[0] == '\n'; }

Cubin read_cubin(unsigned char const* image, std::size_t size, std::string const& kernel) {
  if (size > 1 && is_ptx(image)) return read_ptx(std::string(reinterpret_cast<char const*>(image), size - 1), kernel);
  Cubin facts;
  if (size < 64 || std::memcmp(image, "\177ELF", 4) != 0) return facts;
  std::size_t const table = read<uint64_t>(image + 40), count = read<uint16_t>(image + 60);
  if (table > size || count * 64 > size - table) return facts;
  auto const section = [&](std::size_t index) { return image + table + index * 64; };
  std::size_t const names = read<uint64_t>(section(read<uint16_t>(image + 62)) + 24);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t const name = names + read<uint32_t>(section(i));
    std::size_t const offset = read<uint64_t>(section(i) + 24), bytes = read<uint64_t>(section(i) + 32);
    if (name >= size || offset > size || bytes > size - offset) continue;
    std::string const title(reinterpret_cast<char const*>(image + name));
    bool const general = title == ".nv.info";
    if (!general && title != ".nv.info." + kernel) continue;
    each_entry(image + offset, image + offset + bytes,
               [&](unsigned char attribute, unsigned char const* data, std::size_t length) {
                 if (general && attribute == kRegcount && length >= 8) {
                   facts.registers = std::max(facts.registers, static_cast<int>(read<uint32_t>(data + 4)));
                 } else if (general && attribute == kFrameSize && length >= 8) {
                   facts.local = std::max(facts.local, static_cast<int>(read<uint32_t>(data + 4)));
                 } else if (!general && attribute == kReqntid && length >= 12) {
                   facts.threads = static_cast<int>(read<uint32_t>(data));
                 } else if (!general && attribute == kKparamInfo) {
                   ++facts.parameters;
                 }
               });
  }
  return facts;
}

}  // namespace standin
