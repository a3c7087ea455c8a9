// CrossDiffusionAttention as a TensorRT plugin: IPluginV3, TensorRT 10.3 to 11 and TensorRT-RTX.
//
// Inputs qkv_r, qkv_d (B, N, 3C); outputs y_r = [out_r ‖ out_rd], y_d = [out_d ‖ out_dr] (B, N, 2C); all four of one
// type, FP32, FP16 or BF16, linear format. train/cda.py defines the computation, cda_schedule.h its launches.
#pragma once
#include <NvInferRuntime.h>

#include <array>
#include <string>
#include <vector>

#include "cda_schedule.h"
#include "module_cache.h"

namespace mutualformer {

// Everything that is needed to recreate a plugin: the attributes, and what the build found out about the tensors.
struct Config {
  Attributes attributes;
  int32_t head_dim = 0;  // 0 until configurePlugin
  Type type = Type::kFloat;
  int32_t tactic = 1;  // index of the kernels' tiles, from 1
  std::string node;    // the layer's name in the network; not serialised
};

class CdaPlugin final : public nvinfer1::IPluginV3,
                        public nvinfer1::IPluginV3OneCore,
                        public nvinfer1::IPluginV3OneBuild,
                        public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit CdaPlugin(Config const& config);

  // IPluginV3
  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  // Core
  char const* getPluginName() const noexcept override;
  char const* getPluginVersion() const noexcept override;
  char const* getPluginNamespace() const noexcept override;

  // Build
  int32_t getNbOutputs() const noexcept override { return 2; }
  int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t nb_outputs, nvinfer1::DataType const* inputs,
                             int32_t nb_inputs) const noexcept override;
  int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nb_inputs, nvinfer1::DimsExprs const* shape_inputs,
                          int32_t nb_shape_inputs, nvinfer1::DimsExprs* outputs, int32_t nb_outputs,
                          nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* tensors, int32_t nb_inputs,
                                 int32_t nb_outputs) noexcept override;
  int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t nb_inputs,
                          nvinfer1::DynamicPluginTensorDesc const* outputs, int32_t nb_outputs) noexcept override;
  size_t getWorkspaceSize(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t nb_inputs,
                          nvinfer1::DynamicPluginTensorDesc const* outputs, int32_t nb_outputs) const noexcept override;
  // Tactics are the tiles of plugins/kernels/tiles.py, numbered from 1; TensorRT times them on the device.
  int32_t getNbTactics() noexcept override;
  int32_t getValidTactics(int32_t* tactics, int32_t nb_tactics) noexcept override;
  char const* getTimingCacheID() noexcept override;
  char const* getMetadataString() noexcept override;

  // Runtime
  int32_t setTactic(int32_t tactic) noexcept override;
  int32_t onShapeChange(nvinfer1::PluginTensorDesc const* inputs, int32_t nb_inputs,
                        nvinfer1::PluginTensorDesc const* outputs, int32_t nb_outputs) noexcept override;
  int32_t enqueue(nvinfer1::PluginTensorDesc const* input_descriptions,
                  nvinfer1::PluginTensorDesc const* output_descriptions, void const* const* inputs,
                  void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

 private:
  // Checks the type and width of qkv and stores type and head_dim in config_.
  bool adopt(nvinfer1::DataType type, int64_t packed_width, std::string& error);
  // Checks the input shapes, loads the kernels and plans the launches; prepared_for: whether it did for these inputs.
  bool prepare(nvinfer1::PluginTensorDesc const* inputs, std::string& error);
  bool prepared_for(nvinfer1::PluginTensorDesc const* inputs) const;
  bool load_kernels(std::string& error);
  std::string attributes_text() const;

  Config config_;
  std::array<LoadedKernel, 2> kernels_{};  // indexed by Kernel
  Shape shape_;                            // of the last onShapeChange
  Schedule schedule_;                      // for that shape
  std::string metadata_, timing_cache_id_;
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_{};
};

class CdaPluginCreator final : public nvinfer1::IPluginCreatorV3One {
 public:
  CdaPluginCreator();
  nvinfer1::IPluginV3* createPlugin(nvinfer1::AsciiChar const* name, nvinfer1::PluginFieldCollection const* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }
  nvinfer1::AsciiChar const* getPluginName() const noexcept override;
  nvinfer1::AsciiChar const* getPluginVersion() const noexcept override;
  nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override;

 private:
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_{};
};

// Records the serialised metadata of a node for mutualformer_serialized_nodes, because not every TensorRT prints it.
void note_serialized(std::string const& node, std::string const& metadata);

// Reports "CrossDiffusionAttention: <message>" to TensorRT's logger, or to stderr where there is none.
void log_error(std::string const& message) noexcept;

}  // namespace mutualformer
