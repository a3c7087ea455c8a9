#include "cda_plugin.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cda_generated.h"
#include "cda_launch.h"

namespace mutualformer {
namespace {

using nvinfer1::DataType;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

constexpr int64_t kMaxGridY = 65535;  // batch · heads is a grid's second axis
constexpr char kSupportedTypes[] = "supported are FP32, FP16 and BF16";

// Runs `body`, which returns 0 on success and fills `error` otherwise. No exception may reach TensorRT.
template <typename Body>
int32_t guarded(char const* method, Body&& body) noexcept {
  try {
    std::string error;
    if (body(error)) return 0;
    log_error(std::string(method) + ": " + error);
  } catch (std::exception const& exception) {
    log_error(std::string(method) + ": " + exception.what());
  } catch (...) {
    log_error(std::string(method) + ": unknown exception");
  }
  return -1;
}

char const* type_name(DataType type) {
  switch (type) {
    case DataType::kFLOAT:
      return "FP32";
    case DataType::kHALF:
      return "FP16";
    case DataType::kINT8:
      return "INT8";
    case DataType::kBF16:
      return "BF16";
    default:
      return "another type";
  }
}

// Converts a tensor type to the kernels' type; false for one without kernels.
bool kernel_type(DataType type, Type& found) {
  switch (type) {
    case DataType::kFLOAT:
      found = Type::kFloat;
      return true;
    case DataType::kHALF:
      found = Type::kHalf;
      return true;
    case DataType::kBF16:
      found = Type::kBrain;
      return true;
    default:
      return false;
  }
}

bool is_supported(DataType type) {
  Type unused;
  return kernel_type(type, unused);
}

std::string dims_text(nvinfer1::Dims const& dims) {
  std::string text = "(";
  for (int32_t i = 0; i < dims.nbDims; ++i) text += (i ? ", " : "") + std::to_string(dims.d[i]);
  return text + ")";
}

}  // namespace

CdaPlugin::CdaPlugin(Config const& config) : config_(config) {}

// ---- IPluginV3 and core ----

nvinfer1::IPluginCapability* CdaPlugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* CdaPlugin::clone() noexcept {
  CdaPlugin* copy = nullptr;
  guarded("clone", [&](std::string&) {
    copy = new CdaPlugin(config_);
    copy->kernels_ = kernels_;  // loaded in the current context, which is the copy's too
    copy->shape_ = shape_;
    copy->schedule_ = schedule_;
    return true;
  });
  return copy;
}

char const* CdaPlugin::getPluginName() const noexcept { return generated::kOpType; }
char const* CdaPlugin::getPluginVersion() const noexcept { return generated::kPluginVersion; }
char const* CdaPlugin::getPluginNamespace() const noexcept { return generated::kPluginNamespace; }

// ---- Build ----

// Takes type and head_dim from a tensor's type and packed width 3C; fills `error` where no kernel serves them.
bool CdaPlugin::adopt(DataType type, int64_t packed_width, std::string& error) {
  Type known = Type::kFloat;
  if (!kernel_type(type, known)) {
    error = std::string("qkv_r and qkv_d are ") + type_name(type) + ", " + kSupportedTypes;
    return false;
  }
  int64_t const three_heads = 3 * static_cast<int64_t>(config_.attributes.num_heads);
  int64_t const head_dim = packed_width / three_heads;
  if (packed_width < 1 || packed_width % three_heads != 0) {
    error = "packed qkv width is " + std::to_string(packed_width) +
            ", expected a positive multiple of 3 · num_heads = " + std::to_string(three_heads);
    return false;
  }
  if (head_dim < generated::kMinHeadDim || head_dim > generated::kMaxHeadDim) {
    error = "head_dim is " + std::to_string(head_dim) + ", supported are " + std::to_string(generated::kMinHeadDim) +
            " to " + std::to_string(generated::kMaxHeadDim);
    return false;
  }
  config_.head_dim = static_cast<int32_t>(head_dim);
  config_.type = known;
  return true;
}

int32_t CdaPlugin::getOutputDataTypes(DataType* outputs, int32_t nb_outputs, DataType const* inputs,
                                      int32_t nb_inputs) const noexcept {
  return guarded("getOutputDataTypes", [&](std::string& error) {
    if (nb_inputs != 2 || nb_outputs != 2) {
      error = std::to_string(nb_inputs) + " inputs and " + std::to_string(nb_outputs) + " outputs, expected 2 and 2";
      return false;
    }
    if (inputs[0] != inputs[1] || !is_supported(inputs[0])) {
      error = std::string("qkv_r is ") + type_name(inputs[0]) + " and qkv_d " + type_name(inputs[1]) + ", " +
              kSupportedTypes + ", the same for both";
      return false;
    }
    outputs[0] = outputs[1] = inputs[0];
    return true;
  });
}

int32_t CdaPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nb_inputs, nvinfer1::DimsExprs const*,
                                   int32_t, nvinfer1::DimsExprs* outputs, int32_t nb_outputs,
                                   nvinfer1::IExprBuilder& builder) noexcept {
  return guarded("getOutputShapes", [&](std::string& error) {
    if (nb_inputs != 2 || nb_outputs != 2 || inputs[0].nbDims != 3 || inputs[1].nbDims != 3) {
      error = "expected two inputs of rank 3, (B, N, 3C), and two outputs";
      return false;
    }
    nvinfer1::IDimensionExpr const* const width = inputs[0].d[2];
    if (width->isConstant() && !CdaPlugin(config_).adopt(DataType::kFLOAT, width->getConstantValue(), error)) {
      return false;  // refuse here: a builder prints this message first
    }
    for (int32_t i = 0; i < 2; ++i) {  // (B, N, 3C) → (B, N, 2C): e.g. 768 → 512
      outputs[i].nbDims = 3;
      outputs[i].d[0] = inputs[i].d[0];
      outputs[i].d[1] = inputs[i].d[1];
      nvinfer1::IDimensionExpr const* const doubled =
          builder.operation(nvinfer1::DimensionOperation::kPROD, *width, *builder.constant(2));
      outputs[i].d[2] = builder.operation(nvinfer1::DimensionOperation::kFLOOR_DIV, *doubled, *builder.constant(3));
    }
    return true;
  });
}

bool CdaPlugin::supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* tensors,
                                          int32_t nb_inputs, int32_t nb_outputs) noexcept {
  if (nb_inputs != 2 || nb_outputs != 2 || position < 0 || position > 3) return false;
  nvinfer1::PluginTensorDesc const& tensor = tensors[position].desc;
  return is_supported(tensor.type) && tensor.format == nvinfer1::TensorFormat::kLINEAR &&
         tensor.type == tensors[0].desc.type;
}

int32_t CdaPlugin::configurePlugin(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t nb_inputs,
                                   nvinfer1::DynamicPluginTensorDesc const*, int32_t nb_outputs) noexcept {
  return guarded("configurePlugin", [&](std::string& error) {
    if (nb_inputs != 2 || nb_outputs != 2 || inputs[0].max.nbDims != 3 || inputs[1].max.nbDims != 3) {
      error = "expected two inputs of rank 3, (B, N, 3C), and two outputs";
      return false;
    }
    return adopt(inputs[0].desc.type, inputs[0].max.d[2], error);
  });
}

size_t CdaPlugin::getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t,
                                   nvinfer1::DynamicPluginTensorDesc const*, int32_t) const noexcept {
  size_t bytes = 0;
  guarded("getWorkspaceSize", [&](std::string& error) {
    CdaPlugin probe(config_);  // take type and head_dim from the tensors: TensorRT may call this before configurePlugin
    if (!probe.adopt(inputs[0].desc.type, inputs[0].max.d[2], error)) return false;
    Shape const largest{inputs[0].max.d[0], inputs[0].max.d[1], probe.config_.head_dim};
    bytes = make_schedule(config_.attributes, largest, probe.config_.type).workspace_bytes;
    return true;
  });
  return bytes;
}

int32_t CdaPlugin::getNbTactics() noexcept { return count_tactics(config_.type, config_.head_dim); }

int32_t CdaPlugin::getValidTactics(int32_t* tactics, int32_t nb_tactics) noexcept {
  for (int32_t i = 0; i < nb_tactics; ++i) tactics[i] = i + 1;
  return 0;
}

std::string CdaPlugin::attributes_text() const {
  Attributes const& a = config_.attributes;
  return "num_heads=" + std::to_string(a.num_heads) + " alpha=" + std::to_string(a.alpha) +
         " iterations=" + std::to_string(a.iterations) + " init=" + generated::kInits[static_cast<int32_t>(a.init)] +
         " value_pairing=" + generated::kValuePairings[static_cast<int32_t>(a.value_pairing)];
}

char const* CdaPlugin::getTimingCacheID() noexcept {
  int32_t const status = guarded("getTimingCacheID", [&](std::string&) {
    timing_cache_id_ = attributes_text() + " kernels=" + generated::kKernelsDigest;
    return true;
  });
  return status == 0 ? timing_cache_id_.c_str() : nullptr;
}

char const* CdaPlugin::getMetadataString() noexcept {
  int32_t const status = guarded("getMetadataString", [&](std::string&) {
    metadata_ = attributes_text() + " tactic=" + std::to_string(config_.tactic);
    if (config_.head_dim != 0) metadata_ += "/" + std::to_string(count_tactics(config_.type, config_.head_dim));
    for (LoadedKernel const& kernel : kernels_) {
      if (kernel.image == nullptr) continue;
      KernelImage const& image = *kernel.image;
      metadata_ += std::string(" ") + image.name + "=" + std::to_string(image.block_m) + "x" +
                   std::to_string(image.block_n) + "x" + std::to_string(image.warps) + "warps";
    }
    return true;
  });
  return status == 0 ? metadata_.c_str() : "";
}

// ---- Runtime ----

bool CdaPlugin::load_kernels(std::string& error) {
  std::array<LoadedKernel, 2> kernels;
  for (Kernel const kernel : {Kernel::kRows, Kernel::kColumns}) {
    LoadedKernel& slot = kernels[static_cast<size_t>(kernel)];
    if (!load_kernel(kernel, config_.type, config_.head_dim, config_.tactic, slot, error)) return false;
  }
  kernels_ = kernels;
  return true;
}

nvinfer1::IPluginV3* CdaPlugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  CdaPlugin* attached = nullptr;
  int32_t const status = guarded("attachToContext", [&](std::string& error) {
    attached = new CdaPlugin(config_);
    return config_.head_dim == 0 || attached->load_kernels(error);  // 0: not configured, onShapeChange loads
  });
  if (status == 0) return attached;
  delete attached;
  return nullptr;
}

int32_t CdaPlugin::setTactic(int32_t tactic) noexcept {
  return guarded("setTactic", [&](std::string& error) {
    int32_t const known = config_.head_dim == 0 ? 0 : count_tactics(config_.type, config_.head_dim);
    if (tactic < 0 || (known != 0 && tactic > known)) {
      error = "tactic is " + std::to_string(tactic) + ", expected 0 to " + std::to_string(known);
      return false;
    }
    int32_t const before = config_.tactic;
    config_.tactic = std::max(tactic, 1);  // 0: TensorRT was offered no tactics
    bool const loaded = kernels_[0].function != nullptr;
    return !loaded || config_.tactic == before || load_kernels(error);  // otherwise onShapeChange loads
  });
}

// Whether the current schedule and kernels fit `inputs`.
bool CdaPlugin::prepared_for(nvinfer1::PluginTensorDesc const* inputs) const {
  Type type = Type::kFloat;
  for (int32_t i = 0; i < 2; ++i) {
    nvinfer1::Dims const& dims = inputs[i].dims;
    if (!kernel_type(inputs[i].type, type) || type != config_.type || dims.nbDims != 3 || dims.d[0] != shape_.batch ||
        dims.d[1] != shape_.tokens || dims.d[2] != 3 * config_.attributes.num_heads * shape_.head_dim) {
      return false;
    }
  }
  return true;
}

// Makes the schedule and loads the kernels for `inputs`. Calls the driver only for a new type or head_dim.
bool CdaPlugin::prepare(nvinfer1::PluginTensorDesc const* inputs, std::string& error) {
  nvinfer1::Dims const& dims = inputs[0].dims;
  if (dims.nbDims != 3 || inputs[1].dims.nbDims != 3 || !std::equal(dims.d, dims.d + 3, inputs[1].dims.d) ||
      inputs[0].type != inputs[1].type) {
    error = "inputs are " + dims_text(dims) + " " + type_name(inputs[0].type) + " and " + dims_text(inputs[1].dims) +
            " " + type_name(inputs[1].type) + ", expected one shape (B, N, 3C) and one type for both";
    return false;
  }
  Config const before = config_;
  if (!adopt(inputs[0].type, dims.d[2], error)) return false;
  if (dims.d[0] < 0 || dims.d[1] < 0 || dims.d[0] * config_.attributes.num_heads > kMaxGridY ||
      dims.d[1] * dims.d[2] > std::numeric_limits<int32_t>::max()) {
    error = "input " + dims_text(dims) + " is too large: B · num_heads may be " + std::to_string(kMaxGridY) +
            " and N · 3C 2^31 - 1 at most";
    config_ = before;
    return false;
  }
  bool const same = config_.type == before.type && config_.head_dim == before.head_dim;
  if ((kernels_[0].function == nullptr || !same) && !load_kernels(error)) {
    config_ = before;
    return false;
  }
  shape_ = {dims.d[0], dims.d[1], config_.head_dim};
  schedule_ = make_schedule(config_.attributes, shape_, config_.type);
  return true;
}

int32_t CdaPlugin::onShapeChange(nvinfer1::PluginTensorDesc const* inputs, int32_t nb_inputs,
                                 nvinfer1::PluginTensorDesc const*, int32_t nb_outputs) noexcept {
  return guarded("onShapeChange", [&](std::string& error) {
    if (nb_inputs != 2 || nb_outputs != 2) {
      error = std::to_string(nb_inputs) + " inputs and " + std::to_string(nb_outputs) + " outputs, expected 2 and 2";
      return false;
    }
    kernels_ = {};  // load again: the CUDA context may have changed
    return prepare(inputs, error);
  });
}

int32_t CdaPlugin::enqueue(nvinfer1::PluginTensorDesc const* input_descriptions, nvinfer1::PluginTensorDesc const*,
                           void const* const* inputs, void* const* outputs, void* workspace,
                           cudaStream_t stream) noexcept {
  return guarded("enqueue", [&](std::string& error) {
    if (kernels_[0].function == nullptr || shape_.head_dim == 0) {
      error = "called before a successful onShapeChange";
      return false;
    }
    if (!prepared_for(input_descriptions) && !prepare(input_descriptions, error)) return false;
    if (shape_.batch == 0 || shape_.tokens == 0) return true;
    Buffers const buffers{{inputs[0], inputs[1], outputs[0], outputs[1], workspace}};
    for (Launch const& launch : schedule_) {
      LoadedKernel const& kernel = kernels_[static_cast<size_t>(launch.kernel)];
      if (!enqueue_launch(launch, kernel, config_.attributes, shape_, buffers, stream, error)) return false;
    }
    return true;
  });
}

nvinfer1::PluginFieldCollection const* CdaPlugin::getFieldsToSerialize() noexcept {
  char const* const metadata = getMetadataString();
  guarded("getFieldsToSerialize", [&](std::string&) {
    note_serialized(config_.node, metadata);
    Attributes const& a = config_.attributes;
    auto const text = [](char const* name, char const* value) {
      return PluginField(name, value, PluginFieldType::kCHAR,
                         static_cast<int32_t>(std::char_traits<char>::length(value)));
    };
    static_assert(sizeof(Type) == sizeof(int32_t));
    fields_ = {
        PluginField("num_heads", &a.num_heads, PluginFieldType::kINT32, 1),
        PluginField("alpha", &a.alpha, PluginFieldType::kFLOAT32, 1),
        PluginField("iterations", &a.iterations, PluginFieldType::kINT32, 1),
        text("init", generated::kInits[static_cast<int32_t>(a.init)]),
        text("value_pairing", generated::kValuePairings[static_cast<int32_t>(a.value_pairing)]),
        PluginField("head_dim", &config_.head_dim, PluginFieldType::kINT32, 1),
        PluginField("type", &config_.type, PluginFieldType::kINT32, 1),
        PluginField("tactic", &config_.tactic, PluginFieldType::kINT32, 1),
    };
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
    return true;
  });
  return &collection_;
}

}  // namespace mutualformer
