// The stand-in driver's streams, events and graphs.
//
// Work is done when it is queued, except on a stream in capture, where launches are recorded with copies of their
// arguments and run when the graph is launched. What a capture does not allow (allocating, loading, synchronising)
// fails and spoils it, as the real driver's global mode does.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "driver.h"

namespace standin {
namespace {

struct Event {
  unsigned long long context = 0;
  std::chrono::steady_clock::time_point when;
};
struct Graph {
  unsigned long long context = 0;
  std::vector<std::shared_ptr<Node>> nodes;
};

std::vector<std::unique_ptr<Stream>> g_streams;
std::vector<std::unique_ptr<Event>> g_events;
std::vector<std::unique_ptr<Graph>> g_graphs;

template <typename T>
T* alive(std::vector<std::unique_ptr<T>> const& owners, void* handle) {  // g_mutex is held
  if (g_live.count(handle) == 0) return nullptr;
  auto const found =
      std::find_if(owners.begin(), owners.end(), [&](auto const& owner) { return owner.get() == handle; });
  return found == owners.end() ? nullptr : found->get();
}

template <typename T>
void* adopt(std::vector<std::unique_ptr<T>>& owners, T value) {  // g_mutex is held
  owners.push_back(std::make_unique<T>(std::move(value)));
  g_live.insert(owners.back().get());
  return owners.back().get();
}

// CUDA_KERNEL_NODE_PARAMS_v2
struct NodeParams {
  void* function;
  unsigned grid[3], block[3], shared;
  void** arguments;
  void** extra;
  void* kernel;
  void* context;
};

}  // namespace

void forget_streams(unsigned long long context) {  // g_mutex is held
  for (auto const& stream : g_streams) {
    if (stream->context == context) g_live.erase(stream.get());
  }
  for (auto const& event : g_events) {
    if (event->context == context) g_live.erase(event.get());
  }
  for (auto const& graph : g_graphs) {
    if (graph->context == context) g_live.erase(graph.get());
  }
}

void reset_streams() {
  std::lock_guard<std::mutex> lock(g_mutex);
  for (auto const& stream : g_streams) stream->capturing = false;
}

int refuse_in_capture() {
  std::lock_guard<std::mutex> lock(g_mutex);
  bool refused = false;
  for (auto const& stream : g_streams) {
    if (stream->capturing && (stream->any_thread || stream->thread == std::this_thread::get_id())) {
      refused = stream->invalidated = true;
    }
  }
  return refused ? kCaptureUnsupported : kSuccess;
}

Stream* capturing(void* stream) {  // g_mutex is held
  Stream* const known = alive(g_streams, stream);
  return known != nullptr && known->capturing ? known : nullptr;
}

int do_or_record(void* stream, std::function<int()> action) {
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    if (Stream* const recorder = capturing(stream)) {
      recorder->captured.push_back(std::make_shared<Node>(Node{{}, std::move(action)}));
      return kSuccess;
    }
  }
  return action();
}

}  // namespace standin

using namespace standin;

DRIVER_CALL cuStreamCreate(void** stream, unsigned) {
  ENTER(cuStreamCreate);
  if (int const unusable = usable_context()) return unusable;
  std::lock_guard<std::mutex> lock(g_mutex);
  Stream created;
  created.context = current_context();
  *stream = adopt(g_streams, std::move(created));
  return kSuccess;
}
DRIVER_CALL cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
DRIVER_CALL cuStreamDestroy_v2(void* stream) {
  ENTER(cuStreamDestroy);
  std::lock_guard<std::mutex> lock(g_mutex);
  return g_live.erase(stream) == 1 ? kSuccess : kInvalidHandle;
}
DRIVER_CALL cuStreamSynchronize(void* stream) {
  ENTER(cuStreamSynchronize);
  if (int const refused = refuse_in_capture()) return refused;
  if (int const unusable = usable_context()) return unusable;
  std::lock_guard<std::mutex> lock(g_mutex);
  return stream == nullptr || alive(g_streams, stream) != nullptr ? kSuccess : kInvalidHandle;
}
DRIVER_CALL cuStreamQuery(void* stream) { return cuStreamSynchronize(stream); }
DRIVER_CALL cuStreamWaitEvent(void*, void*, unsigned) {
  ENTER(cuStreamWaitEvent);
  return usable_context();
}

// ---- Capture and graphs ----

DRIVER_CALL cuStreamBeginCapture_v2(void* stream, int mode) {
  ENTER(cuStreamBeginCapture);
  std::lock_guard<std::mutex> lock(g_mutex);
  Stream* const known = alive(g_streams, stream);
  if (known == nullptr) return kInvalidHandle;
  if (known->capturing) return kIllegalState;
  known->capturing = true;
  known->invalidated = false;
  known->any_thread = mode == 0;
  known->thread = std::this_thread::get_id();
  known->captured.clear();
  return kSuccess;
}
DRIVER_CALL cuStreamEndCapture(void* stream, void** graph) {
  ENTER(cuStreamEndCapture);
  std::lock_guard<std::mutex> lock(g_mutex);
  Stream* const known = alive(g_streams, stream);
  if (known == nullptr || !known->capturing) return kIllegalState;
  known->capturing = false;
  *graph = nullptr;
  if (known->invalidated) return kCaptureInvalidated;
  Graph made;
  made.context = known->context;
  made.nodes.swap(known->captured);
  *graph = adopt(g_graphs, std::move(made));
  return kSuccess;
}
DRIVER_CALL cuGraphGetNodes(void* graph, void** nodes, std::size_t* count) {
  ENTER(cuGraphGetNodes);
  std::lock_guard<std::mutex> lock(g_mutex);
  Graph const* const known = alive(g_graphs, graph);
  if (known == nullptr) return kInvalidHandle;
  std::size_t const room = *count;
  *count = known->nodes.size();
  for (std::size_t i = 0; nodes != nullptr && i < std::min(room, *count); ++i) nodes[i] = known->nodes[i].get();
  return kSuccess;
}
DRIVER_CALL cuGraphNodeGetType(void* node, int* type) {
  *type = static_cast<Node const*>(node)->launch.function != nullptr ? 0 : 1;  // CU_GRAPH_NODE_TYPE_KERNEL, _MEMCPY
  return kSuccess;
}
DRIVER_CALL cuGraphKernelNodeGetParams_v2(void* node, void* params) {
  ENTER(cuGraphKernelNodeGetParams);
  Launch const* const launch = &static_cast<Node const*>(node)->launch;
  NodeParams answer{};
  answer.function = const_cast<Function*>(launch->function);
  std::copy(launch->grid, launch->grid + 3, answer.grid);
  answer.block[0] = launch->block;
  answer.block[1] = answer.block[2] = 1;
  answer.shared = launch->shared;
  answer.arguments = const_cast<void**>(launch->arguments.data());
  std::memcpy(params, &answer, sizeof answer);
  return kSuccess;
}
DRIVER_CALL cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
  ENTER(cuGraphInstantiate);
  std::lock_guard<std::mutex> lock(g_mutex);
  Graph const* const known = alive(g_graphs, graph);
  if (known == nullptr) return kInvalidHandle;
  *executable = adopt(g_graphs, Graph(*known));
  return kSuccess;
}
DRIVER_CALL cuGraphLaunch(void* executable, void* stream) {
  ENTER(cuGraphLaunch);
  if (int const unusable = usable_context()) return unusable;
  std::vector<std::shared_ptr<Node>> nodes;
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    Graph const* const known = alive(g_graphs, executable);
    if (known == nullptr) return kInvalidHandle;
    nodes = known->nodes;
  }
  for (auto const& node : nodes) {
    if (int const failed = node->launch.function != nullptr ? run(node->launch, stream) : node->action()) return failed;
  }
  return kSuccess;
}
DRIVER_CALL cuGraphDestroy(void* graph) {
  ENTER(cuGraphDestroy);
  std::lock_guard<std::mutex> lock(g_mutex);
  return g_live.erase(graph) == 1 ? kSuccess : kInvalidHandle;
}
DRIVER_CALL cuGraphExecDestroy(void* executable) {
  ENTER(cuGraphExecDestroy);
  std::lock_guard<std::mutex> lock(g_mutex);
  return g_live.erase(executable) == 1 ? kSuccess : kInvalidHandle;
}

// ---- Events ----

DRIVER_CALL cuEventCreate(void** event, unsigned) {
  ENTER(cuEventCreate);
  if (int const unusable = usable_context()) return unusable;
  std::lock_guard<std::mutex> lock(g_mutex);
  *event = adopt(g_events, Event{current_context(), {}});
  return kSuccess;
}
DRIVER_CALL cuEventRecord(void* event, void*) {
  ENTER(cuEventRecord);
  std::lock_guard<std::mutex> lock(g_mutex);
  Event* const known = alive(g_events, event);
  if (known == nullptr) return kInvalidHandle;
  known->when = std::chrono::steady_clock::now();
  return kSuccess;
}
DRIVER_CALL cuEventSynchronize(void* event) {
  ENTER(cuEventSynchronize);
  std::lock_guard<std::mutex> lock(g_mutex);
  return alive(g_events, event) != nullptr ? kSuccess : kInvalidHandle;
}
DRIVER_CALL cuEventQuery(void* event) { return cuEventSynchronize(event); }
DRIVER_CALL cuEventElapsedTime(float* milliseconds, void* from, void* to) {
  ENTER(cuEventElapsedTime);
  std::lock_guard<std::mutex> lock(g_mutex);
  Event const* const first = alive(g_events, from);
  Event const* const last = alive(g_events, to);
  if (first == nullptr || last == nullptr) return kInvalidHandle;
  *milliseconds = std::chrono::duration<float, std::milli>(last->when - first->when).count();
  return kSuccess;
}
DRIVER_CALL cuEventDestroy_v2(void* event) {
  ENTER(cuEventDestroy);
  std::lock_guard<std::mutex> lock(g_mutex);
  return g_live.erase(event) == 1 ? kSuccess : kInvalidHandle;
}
