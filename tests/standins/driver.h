// What the parts of the stand-in driver share. Handles are addresses of the objects below; a dead one is refused.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace standin {

enum Result : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNoDevice = 100,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kInvalidPtx = 218,
  kInvalidHandle = 400,
  kIllegalState = 401,
  kNotFound = 500,
  kContextIsDestroyed = 709,
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
};

struct Module {
  unsigned long long context;
  unsigned char const* image;
  std::size_t size;
};

struct Function {
  unsigned long long context;
  std::string name;
  Module const* module = nullptr;
  uint32_t max_shared = 49152;
};

// One launch with its arguments copied: eight bytes for each, whatever its type.
struct Launch {
  Function const* function = nullptr;
  unsigned grid[3] = {};
  unsigned block = 0;
  unsigned shared = 0;
  std::vector<uint64_t> values;
  std::vector<void*> arguments;  // into `values`
};

// What a graph holds: a launch, or a copy.
struct Node {
  Launch launch;                // of a kernel where it has a function
  std::function<int()> action;  // otherwise
};

struct Stream {
  unsigned long long context = 0;
  bool capturing = false;
  bool invalidated = false;
  bool any_thread = false;  // CU_STREAM_CAPTURE_MODE_GLOBAL: calls of other threads can spoil it as well
  std::thread::id thread;   // that began the capture
  std::vector<std::shared_ptr<Node>> captured;
};

extern std::mutex g_mutex;
extern std::set<void const*> g_live;  // handles of modules, functions, streams, events, graphs

// Counts the call and returns the failure injected for it, if any.
int enter(char const* name);

// The context current on this thread, 0 if there is none; it may be a destroyed one.
unsigned long long current_context();
// kSuccess, or why nothing can be done in the context current on this thread.
int usable_context();
// Makes `context` the only one on this thread's stack, alive; 0 empties the stack.
void set_only_context(unsigned long long context);
// Gives back memory, contexts, streams and graphs, and puts the counters to 0.
void reset_contexts();
void reset_streams();

// Frees what belongs to a context that ends.
void forget_modules(unsigned long long context);
void forget_streams(unsigned long long context);

// A call that a capture does not allow, from the thread that captures or, in the driver's global mode, from any: fails
// and spoils the capture.
int refuse_in_capture();
// Whether work queued on `stream` must be recorded instead of done; handles that tests invent are never captured.
Stream* capturing(void* stream);

// Does a copy now, or records it where `stream` is in capture.
int do_or_record(void* stream, std::function<int()> action);

// Runs the callback for one launch; `g_mutex` must not be held.
int run(Launch const& launch, void* stream);

}  // namespace standin

#define DRIVER_CALL extern "C" __attribute__((visibility("default"))) int
#define TEST_CALL extern "C" __attribute__((visibility("default")))
#define ENTER(name) \
  if (int const injected = standin::enter(#name)) return injected
