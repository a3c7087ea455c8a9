// The stand-in driver's devices, contexts and memory.
//
// A context is alive from its creation to its destruction, the primary one from the first retain to the last release;
// work in a dead one is an error, though it can still be current on a thread, as with the real driver. Memory is host
// memory filled with 0xCD; every copy must lie inside one allocation that is alive.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "driver.h"

namespace standin {
namespace {

constexpr unsigned long long kFirstPrimary = 0x10000000, kFirstCreated = 0x20000000;
constexpr std::size_t kTotalMemory = std::size_t{8} << 30;
constexpr std::size_t kAlignment = 256;

struct Allocation {
  std::size_t size;
  unsigned long long context;
  bool host;
};

bool g_visible = false;  // whether the pretended GPU is counted; off, so that a process with tests sees none
std::set<unsigned long long> g_contexts;
unsigned long long g_primary = 0, g_primaries = 0, g_created = 0;
int g_retained = 0;
std::map<unsigned char*, Allocation> g_memory;
thread_local std::vector<unsigned long long> g_stack;

void free_context(unsigned long long context) {  // g_mutex is held
  g_contexts.erase(context);
  forget_modules(context);
  forget_streams(context);
  for (auto it = g_memory.begin(); it != g_memory.end();) {
    if (it->second.context == context) {
      std::free(it->first);
      it = g_memory.erase(it);
    } else {
      ++it;
    }
  }
}

std::size_t allocated() {
  std::size_t sum = 0;
  for (auto const& [address, allocation] : g_memory) sum += allocation.host ? 0 : allocation.size;
  return sum;
}

int allocate(void** address, std::size_t size, bool host) {
  if (int const unusable = usable_context()) return unusable;
  std::lock_guard<std::mutex> lock(g_mutex);
  if (size == 0) return kInvalidValue;
  if (!host && size > kTotalMemory - allocated()) return kOutOfMemory;
  std::size_t const rounded = (size + kAlignment - 1) / kAlignment * kAlignment;
  auto* const bytes = static_cast<unsigned char*>(std::aligned_alloc(kAlignment, rounded));
  if (bytes == nullptr) return kOutOfMemory;
  std::memset(bytes, 0xCD, rounded);
  g_memory[bytes] = {size, current_context(), host};
  *address = bytes;
  return kSuccess;
}

int release(void* address, bool host) {
  if (int const refused = refuse_in_capture()) return refused;
  if (int const unusable = usable_context()) return unusable;
  std::lock_guard<std::mutex> lock(g_mutex);
  auto const allocation = g_memory.find(static_cast<unsigned char*>(address));
  if (allocation == g_memory.end() || allocation->second.host != host) return kInvalidValue;
  std::free(allocation->first);
  g_memory.erase(allocation);
  return kSuccess;
}

// Bytes from `address` to the end of its allocation, 0 outside of all.
std::size_t extent(void const* address) {
  auto* const byte = static_cast<unsigned char*>(const_cast<void*>(address));
  auto next = g_memory.upper_bound(byte);
  if (next == g_memory.begin()) return 0;
  --next;
  auto const offset = static_cast<std::size_t>(byte - next->first);
  return offset < next->second.size ? next->second.size - offset : 0;
}

int copy(void* to, bool to_device, void const* from, bool from_device, std::size_t size) {
  if (int const unusable = usable_context()) return unusable;
  std::lock_guard<std::mutex> lock(g_mutex);
  if ((to_device && extent(to) < size) || (from_device && extent(from) < size)) return kInvalidValue;
  std::memmove(to, from, size);
  return kSuccess;
}

int push(unsigned long long context) {
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    if (g_contexts.count(context) == 0) return kInvalidContext;
  }
  g_stack.push_back(context);
  return kSuccess;
}

unsigned long long number(void* context) { return reinterpret_cast<unsigned long long>(context); }

}  // namespace

unsigned long long current_context() { return g_stack.empty() ? 0 : g_stack.back(); }

int usable_context() {
  std::lock_guard<std::mutex> lock(g_mutex);
  if (current_context() == 0) return kInvalidContext;
  return g_contexts.count(current_context()) != 0 ? kSuccess : kContextIsDestroyed;
}

void set_only_context(unsigned long long context) {
  g_stack.clear();
  if (context == 0) return;
  g_stack.push_back(context);
  std::lock_guard<std::mutex> lock(g_mutex);
  g_contexts.insert(context);
}

void reset_contexts() {
  std::lock_guard<std::mutex> lock(g_mutex);
  for (auto const& [address, allocation] : g_memory) std::free(address);
  g_memory.clear();
  if (g_primary != 0) g_contexts.erase(g_primary);
  g_primary = 0;
  g_retained = 0;
  g_visible = false;
}

int capability();

}  // namespace standin

using namespace standin;

DRIVER_CALL cuInit(unsigned) {
  ENTER(cuInit);
  return kSuccess;
}
DRIVER_CALL cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSuccess;
}
DRIVER_CALL cuDeviceGetCount(int* count) {
  ENTER(cuDeviceGetCount);
  *count = g_visible ? 1 : 0;
  return kSuccess;
}
DRIVER_CALL cuDeviceGet(int* device, int ordinal) {
  ENTER(cuDeviceGet);
  *device = 0;
  return ordinal == 0 && g_visible ? kSuccess : kNoDevice;
}
DRIVER_CALL cuDeviceGetName(char* name, int length, int) {
  std::strncpy(name, "stand-in for a GPU", static_cast<std::size_t>(length) - 1);
  name[length - 1] = 0;
  return kSuccess;
}
DRIVER_CALL cuDeviceTotalMem_v2(std::size_t* bytes, int) {
  *bytes = kTotalMemory;
  return kSuccess;
}
DRIVER_CALL cuDeviceGetAttribute(int* value, int attribute, int) {
  ENTER(cuDeviceGetAttribute);
  std::lock_guard<std::mutex> lock(g_mutex);
  switch (attribute) {  // CUdevice_attribute
    case 13:            // clock, kHz
      *value = 1300000;
      return kSuccess;
    case 16:  // multiprocessors
      *value = 16;
      return kSuccess;
    case 18:  // integrated
      *value = 1;
      return kSuccess;
    case 36:  // memory clock, kHz: not told
    case 37:  // width of the memory bus
      *value = 0;
      return kSuccess;
    case 75:
      *value = capability() / 10;
      return kSuccess;
    case 76:
      *value = capability() % 10;
      return kSuccess;
    default:
      return kInvalidValue;
  }
}

// ---- Contexts ----

DRIVER_CALL cuCtxGetCurrent(void** context) {
  ENTER(cuCtxGetCurrent);
  *context = reinterpret_cast<void*>(current_context());
  return kSuccess;
}
DRIVER_CALL cuCtxGetId(void* context, unsigned long long* id) {
  ENTER(cuCtxGetId);
  *id = context == nullptr ? current_context() : number(context);
  return kSuccess;
}
DRIVER_CALL cuCtxGetDevice(int* device) {
  ENTER(cuCtxGetDevice);
  if (int const unusable = usable_context()) return unusable;
  *device = 0;
  return kSuccess;
}
DRIVER_CALL cuCtxSynchronize() {
  ENTER(cuCtxSynchronize);
  if (int const refused = refuse_in_capture()) return refused;
  return usable_context();
}
DRIVER_CALL cuCtxCreate_v2(void** context, unsigned, int) {
  ENTER(cuCtxCreate);
  unsigned long long const created = kFirstCreated + ++g_created;
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    g_contexts.insert(created);
  }
  *context = reinterpret_cast<void*>(created);
  return push(created);
}
DRIVER_CALL cuCtxCreate_v4(void** context, void*, unsigned flags, int device) {
  return cuCtxCreate_v2(context, flags, device);
}
DRIVER_CALL cuCtxDestroy_v2(void* context) {
  ENTER(cuCtxDestroy);
  if (current_context() == number(context)) g_stack.pop_back();
  std::lock_guard<std::mutex> lock(g_mutex);
  if (g_contexts.count(number(context)) == 0) return kInvalidContext;
  free_context(number(context));
  return kSuccess;
}
DRIVER_CALL cuCtxPushCurrent_v2(void* context) {
  ENTER(cuCtxPushCurrent);
  return push(number(context));
}
DRIVER_CALL cuCtxPopCurrent_v2(void** context) {
  ENTER(cuCtxPopCurrent);
  if (g_stack.empty()) return kInvalidContext;
  if (context != nullptr) *context = reinterpret_cast<void*>(g_stack.back());
  g_stack.pop_back();
  return kSuccess;
}
DRIVER_CALL cuCtxSetCurrent(void* context) {
  ENTER(cuCtxSetCurrent);
  if (!g_stack.empty()) g_stack.pop_back();
  return context == nullptr ? static_cast<int>(kSuccess) : push(number(context));
}
DRIVER_CALL cuDevicePrimaryCtxRetain(void** context, int) {
  ENTER(cuDevicePrimaryCtxRetain);
  std::lock_guard<std::mutex> lock(g_mutex);
  if (g_retained++ == 0) {
    g_primary = kFirstPrimary + ++g_primaries;
    g_contexts.insert(g_primary);
  }
  *context = reinterpret_cast<void*>(g_primary);
  return kSuccess;
}
DRIVER_CALL cuDevicePrimaryCtxRelease_v2(int) {
  ENTER(cuDevicePrimaryCtxRelease);
  std::lock_guard<std::mutex> lock(g_mutex);
  if (g_retained == 0) return kInvalidContext;
  if (--g_retained == 0) free_context(g_primary);
  return kSuccess;
}
DRIVER_CALL cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
  std::lock_guard<std::mutex> lock(g_mutex);
  *flags = 0;
  *active = g_retained > 0;
  return kSuccess;
}

// ---- Memory ----

DRIVER_CALL cuMemAlloc_v2(void** address, std::size_t size) {
  ENTER(cuMemAlloc);
  if (int const refused = refuse_in_capture()) return refused;
  return allocate(address, size, false);
}
DRIVER_CALL cuMemHostAlloc(void** address, std::size_t size, unsigned) {
  ENTER(cuMemHostAlloc);
  if (int const refused = refuse_in_capture()) return refused;
  return allocate(address, size, true);
}
DRIVER_CALL cuMemHostGetDevicePointer_v2(void** device, void* host, unsigned) {
  ENTER(cuMemHostGetDevicePointer);
  std::lock_guard<std::mutex> lock(g_mutex);
  *device = host;  // one memory, as a Jetson's
  return extent(host) != 0 ? kSuccess : kInvalidValue;
}
DRIVER_CALL cuMemAllocHost_v2(void** address, std::size_t size) { return cuMemHostAlloc(address, size, 0); }
DRIVER_CALL cuMemFree_v2(void* address) {
  ENTER(cuMemFree);
  return release(address, false);
}
DRIVER_CALL cuMemFreeHost(void* address) {
  ENTER(cuMemFreeHost);
  return release(address, true);
}
DRIVER_CALL cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  ENTER(cuMemGetInfo);
  std::lock_guard<std::mutex> lock(g_mutex);
  *total = kTotalMemory;
  *free = kTotalMemory - allocated();
  return kSuccess;
}
DRIVER_CALL cuMemcpyHtoD_v2(void* to, void const* from, std::size_t size) {
  ENTER(cuMemcpyHtoD);
  return copy(to, true, from, false, size);
}
DRIVER_CALL cuMemcpyDtoH_v2(void* to, void const* from, std::size_t size) {
  ENTER(cuMemcpyDtoH);
  return copy(to, false, from, true, size);
}
DRIVER_CALL cuMemcpyHtoDAsync_v2(void* to, void const* from, std::size_t size, void* stream) {
  ENTER(cuMemcpyHtoDAsync);
  return do_or_record(stream, [=] { return copy(to, true, from, false, size); });
}
DRIVER_CALL cuMemcpyDtoHAsync_v2(void* to, void const* from, std::size_t size, void* stream) {
  ENTER(cuMemcpyDtoHAsync);
  return do_or_record(stream, [=] { return copy(to, false, from, true, size); });
}
DRIVER_CALL cuMemcpyDtoDAsync_v2(void* to, void const* from, std::size_t size, void* stream) {
  ENTER(cuMemcpyDtoDAsync);
  return do_or_record(stream, [=] { return copy(to, true, from, true, size); });
}
DRIVER_CALL cuMemsetD8_v2(void* to, unsigned char value, std::size_t size) {
  ENTER(cuMemsetD8);
  if (int const unusable = usable_context()) return unusable;
  std::lock_guard<std::mutex> lock(g_mutex);
  if (extent(to) < size) return kInvalidValue;
  std::memset(to, value, size);
  return kSuccess;
}

// ---- For the tests ----

TEST_CALL void test_driver_show_device(int visible) { g_visible = visible != 0; }
TEST_CALL std::size_t test_driver_extent(void const* address) {
  std::lock_guard<std::mutex> lock(g_mutex);
  return extent(address);
}
TEST_CALL int test_driver_allocations() {
  std::lock_guard<std::mutex> lock(g_mutex);
  return static_cast<int>(g_memory.size());
}
