// Calls a plugin as TensorRT does, step by step, behind a C interface: creator → createPlugin → configure →
// serialise → createPlugin at run time → attachToContext → onShapeChange → enqueue. The creator comes from
// TensorRT-RTX's registry, or, after `harness_open`, from the plugin library itself: no TensorRT is needed then.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstring>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cda_schedule.h"

// TensorRT-RTX's plugin registry. Its interface is TensorRT's without the four methods that were deprecated in 10.0,
// so the TensorRT headers used here have getCreator at another index; `creator` checks its result.
// (Not in the anonymous namespace, where the compiler would assume that no class implements it.)
class RtxRegistry {
 public:
  virtual ~RtxRegistry() noexcept = default;
  virtual void setErrorRecorder(nvinfer1::IErrorRecorder*) noexcept = 0;
  virtual nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept = 0;
  virtual bool isParentSearchEnabled() const = 0;
  virtual void setParentSearchEnabled(bool) = 0;
  virtual void* loadLibrary(nvinfer1::AsciiChar const*) noexcept = 0;
  virtual void deregisterLibrary(void*) noexcept = 0;
  virtual bool registerCreator(nvinfer1::IPluginCreatorInterface&, nvinfer1::AsciiChar const*) noexcept = 0;
  virtual nvinfer1::IPluginCreatorInterface* const* getAllCreators(int32_t*) const noexcept = 0;
  virtual nvinfer1::IPluginCreatorInterface* getCreator(nvinfer1::AsciiChar const*, nvinfer1::AsciiChar const*,
                                                        nvinfer1::AsciiChar const*) noexcept = 0;
};

namespace {

using nvinfer1::DataType;
using nvinfer1::IPluginV3;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

class Recorder final : public nvinfer1::ILogger, public nvinfer1::ILoggerFinder {
 public:
  void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (severity <= Severity::kERROR) text_ += std::string(message) + "\n";
  }
  nvinfer1::ILogger* findLogger() override { return this; }
  std::string take() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(text_, "");
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

Recorder g_recorder;

RtxRegistry* registry() {
  void* const library = dlopen("libtensorrt_rtx.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) return nullptr;
  auto const get = reinterpret_cast<RtxRegistry* (*)()>(dlsym(library, "getPluginRegistry"));
  return get != nullptr ? get() : nullptr;
}

void* g_library = nullptr;  // opened by harness_open

nvinfer1::IPluginCreatorInterface* registered() {
  RtxRegistry* const found = registry();
  return found == nullptr ? nullptr : found->getCreator("CrossDiffusionAttention", "1", "");
}

// The first V3 creator that the library offers a registry.
nvinfer1::IPluginCreatorInterface* exported() {
  using GetCreators = nvinfer1::IPluginCreatorInterface* const* (*)(int32_t&);
  auto const get = reinterpret_cast<GetCreators>(dlsym(g_library, "getCreators"));
  int32_t count = 0;
  auto const* const creators = get != nullptr ? get(count) : nullptr;
  return count > 0 ? creators[0] : nullptr;
}

nvinfer1::IPluginCreatorV3One* creator() {
  nvinfer1::IPluginCreatorInterface* const interface = g_library != nullptr ? exported() : registered();
  if (interface == nullptr || std::strcmp(interface->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") != 0) {
    return nullptr;
  }
  return static_cast<nvinfer1::IPluginCreatorV3One*>(interface);
}

template <typename T>
T* capability(IPluginV3* plugin, nvinfer1::PluginCapabilityType type) {
  return static_cast<T*>(plugin->getCapabilityInterface(type));
}

nvinfer1::IPluginV3OneRuntime* runtime(IPluginV3* plugin) {
  return capability<nvinfer1::IPluginV3OneRuntime>(plugin, nvinfer1::PluginCapabilityType::kRUNTIME);
}

nvinfer1::IPluginV3OneBuild* build(IPluginV3* plugin) {
  return capability<nvinfer1::IPluginV3OneBuild>(plugin, nvinfer1::PluginCapabilityType::kBUILD);
}

nvinfer1::PluginTensorDesc describe(int type, int64_t batch, int64_t tokens, int64_t width) {
  nvinfer1::PluginTensorDesc tensor{};
  tensor.dims.nbDims = 3;
  tensor.dims.d[0] = batch;
  tensor.dims.d[1] = tokens;
  tensor.dims.d[2] = width;
  tensor.type = static_cast<DataType>(type);
  tensor.format = nvinfer1::TensorFormat::kLINEAR;
  tensor.scale = 1.F;
  return tensor;
}

std::vector<nvinfer1::DynamicPluginTensorDesc> dynamic(int type, int64_t batch, int64_t tokens, int64_t width) {
  std::vector<nvinfer1::DynamicPluginTensorDesc> tensors(4);
  for (int i = 0; i < 4; ++i) {
    auto& tensor = tensors[static_cast<size_t>(i)];
    tensor.desc = describe(type, -1, tokens, i < 2 ? width : width / 3 * 2);
    tensor.max = describe(type, batch, tokens, i < 2 ? width : width / 3 * 2).dims;
    tensor.min = tensor.opt = tensor.max;
    tensor.min.d[0] = 1;
  }
  return tensors;
}

}  // namespace

extern "C" {
#define HARNESS __attribute__((visibility("default")))

// The version whose interfaces the plugin may call here, as TensorRT's own library would report it.
HARNESS int32_t getInferLibVersion() noexcept {
  return NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH;
}

// From now on takes creators from the library itself. Returns 0, or -1 with dlerror's text in harness_take_log.
HARNESS int harness_open(char const* library) {
  void* const handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    char const* const reason = dlerror();
    g_recorder.log(nvinfer1::ILogger::Severity::kERROR, reason != nullptr ? reason : library);
    return -1;
  }
  g_library = handle;
  return creator() != nullptr ? 0 : -2;
}

// Routes the library's messages into the harness, or back to their usual logger. `library` must be loaded.
HARNESS int harness_record_log(char const* library, int record) {
  void* const handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  if (handle == nullptr) return -1;
  auto const set = reinterpret_cast<void (*)(nvinfer1::ILoggerFinder*)>(dlsym(handle, "setLoggerFinder"));
  if (set == nullptr) return -1;
  set(record ? &g_recorder : nullptr);
  return 0;
}

HARNESS int harness_take_log(char* text, int capacity) {
  std::string const log = g_recorder.take();
  std::strncpy(text, log.c_str(), static_cast<size_t>(capacity) - 1);
  text[capacity - 1] = 0;
  return static_cast<int>(log.size());
}

// types: PluginFieldType; phase: TensorRTPhase. nullptr if the registry or the creator refuses.
HARNESS IPluginV3* harness_create(int count, char const* const* names, int const* types, void const* const* data,
                                  int const* lengths, int phase) {
  auto* const maker = creator();
  if (maker == nullptr) return nullptr;
  std::vector<PluginField> fields;
  for (int i = 0; i < count; ++i) {
    fields.emplace_back(names[i], data[i], static_cast<PluginFieldType>(types[i]), lengths[i]);
  }
  nvinfer1::PluginFieldCollection const collection{count, fields.data()};
  return maker->createPlugin("node", &collection, static_cast<nvinfer1::TensorRTPhase>(phase));
}

HARNESS int harness_field_names(char const** names, int capacity) {
  auto const* const collection = creator()->getFieldNames();
  for (int i = 0; i < collection->nbFields && i < capacity; ++i) names[i] = collection->fields[i].name;
  return collection->nbFields;
}

// The builder's questions before it accepts a plugin. 0 if the plugin accepts all.
HARNESS int harness_configure(IPluginV3* plugin, int type, int64_t batch, int64_t tokens, int64_t width) {
  auto* const b = build(plugin);
  if (b == nullptr || b->getNbOutputs() != 2) return -10;
  DataType const inputs[2] = {static_cast<DataType>(type), static_cast<DataType>(type)};
  DataType outputs[2];
  if (int const status = b->getOutputDataTypes(outputs, 2, inputs, 2)) return status;
  if (outputs[0] != inputs[0] || outputs[1] != inputs[0]) return -11;
  auto const tensors = dynamic(type, batch, tokens, width);
  for (int i = 0; i < 4; ++i) {
    if (!b->supportsFormatCombination(i, tensors.data(), 2, 2)) return -12;
  }
  return b->configurePlugin(tensors.data(), 2, tensors.data() + 2, 2);
}

HARNESS size_t harness_workspace(IPluginV3* plugin, int type, int64_t batch, int64_t tokens, int64_t width) {
  auto const tensors = dynamic(type, batch, tokens, width);
  return build(plugin)->getWorkspaceSize(tensors.data(), 2, tensors.data() + 2, 2);
}

// Serialises the plugin's fields as TensorRT does, bytes only, and makes a run-time plugin from them.
HARNESS IPluginV3* harness_deserialize(IPluginV3* plugin) {
  auto const* const collection = runtime(plugin)->getFieldsToSerialize();
  std::vector<std::string> names, bytes;
  for (int i = 0; i < collection->nbFields; ++i) {
    PluginField const& field = collection->fields[i];
    size_t const size = field.type == PluginFieldType::kCHAR ? 1 : 4;
    names.emplace_back(field.name);
    bytes.emplace_back(static_cast<char const*>(field.data), static_cast<size_t>(field.length) * size);
  }
  std::vector<PluginField> fields;
  for (int i = 0; i < collection->nbFields; ++i) {
    size_t const n = static_cast<size_t>(i);
    fields.emplace_back(names[n].c_str(), bytes[n].data(), collection->fields[i].type, collection->fields[i].length);
  }
  nvinfer1::PluginFieldCollection const copy{collection->nbFields, fields.data()};
  return creator()->createPlugin("node", &copy, nvinfer1::TensorRTPhase::kRUNTIME);
}

HARNESS IPluginV3* harness_clone(IPluginV3* plugin) { return plugin->clone(); }
HARNESS IPluginV3* harness_attach(IPluginV3* plugin) { return runtime(plugin)->attachToContext(nullptr); }
HARNESS void harness_destroy(IPluginV3* plugin) { delete plugin; }

HARNESS int harness_tactics(IPluginV3* plugin, int* tactics, int capacity) {
  int32_t const count = build(plugin)->getNbTactics();
  std::vector<int32_t> values(static_cast<size_t>(count));
  if (build(plugin)->getValidTactics(values.data(), count) != 0) return -1;
  for (int i = 0; i < count && i < capacity; ++i) tactics[i] = values[static_cast<size_t>(i)];
  return count;
}

HARNESS int harness_set_tactic(IPluginV3* plugin, int tactic) { return runtime(plugin)->setTactic(tactic); }
HARNESS char const* harness_metadata(IPluginV3* plugin) { return build(plugin)->getMetadataString(); }
HARNESS char const* harness_timing_cache_id(IPluginV3* plugin) { return build(plugin)->getTimingCacheID(); }

HARNESS int harness_shape(IPluginV3* plugin, int type, int64_t batch, int64_t tokens, int64_t width) {
  nvinfer1::PluginTensorDesc const in[2] = {describe(type, batch, tokens, width), describe(type, batch, tokens, width)};
  nvinfer1::PluginTensorDesc const out[2] = {describe(type, batch, tokens, width / 3 * 2),
                                             describe(type, batch, tokens, width / 3 * 2)};
  return runtime(plugin)->onShapeChange(in, 2, out, 2);
}

// As TensorRT calls it: with descriptions of the tensors, which need not be those of the last harness_shape.
HARNESS int harness_enqueue(IPluginV3* plugin, int type, int64_t batch, int64_t tokens, int64_t width,
                            void const* qkv_r, void const* qkv_d, void* y_r, void* y_d, void* workspace, void* stream) {
  nvinfer1::PluginTensorDesc const in[2] = {describe(type, batch, tokens, width), describe(type, batch, tokens, width)};
  nvinfer1::PluginTensorDesc const out[2] = {describe(type, batch, tokens, width / 3 * 2),
                                             describe(type, batch, tokens, width / 3 * 2)};
  void const* const inputs[2] = {qkv_r, qkv_d};
  void* const outputs[2] = {y_r, y_d};
  return runtime(plugin)->enqueue(in, out, inputs, outputs, workspace, static_cast<cudaStream_t>(stream));
}

// The result of cda_schedule.cpp as numbers: per launch kernel and writes, then for keys, x, own, following and result
// base and byte offset of r and of d, and the width: 2 + 5 · 5. Returns the number of launches.
HARNESS int harness_schedule(int heads, int iterations, int cross, int figure, int type, int64_t batch, int64_t tokens,
                             int64_t head_dim, int64_t* numbers, size_t* workspace_bytes) {
  using namespace mutualformer;
  Attributes const attributes{heads, 0.6F, iterations, cross ? Init::kCross : Init::kIdentity,
                              figure ? ValuePairing::kFigure : ValuePairing::kReleased};
  Schedule const schedule = make_schedule(attributes, {batch, tokens, head_dim}, static_cast<Type>(type));
  for (Launch const& launch : schedule) {
    *numbers++ = static_cast<int64_t>(launch.kernel);
    *numbers++ = launch.writes;
    for (Pair const& pair : {launch.keys, launch.x, launch.own, launch.following, launch.result}) {
      for (Address const& address : {pair.r, pair.d}) {
        *numbers++ = static_cast<int64_t>(address.base);
        *numbers++ = static_cast<int64_t>(address.bytes);
      }
      *numbers++ = pair.width;
    }
  }
  *workspace_bytes = schedule.workspace_bytes;
  return schedule.count;
}

}  // extern "C"
