// The plugin's creator, and the entry points by which TensorRT's registry.load_library finds it.
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>

#include "cda_generated.h"
#include "cda_plugin.h"
#include "host_logger.h"

#define MUTUALFORMER_EXPORT extern "C" __attribute__((visibility("default")))

namespace mutualformer {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

nvinfer1::ILoggerFinder* g_logger_finder = nullptr;
std::mutex g_last_error_mutex;

std::mutex g_serialized_mutex;

std::map<std::string, std::string>& serialized() {  // node → metadata
  static std::map<std::string, std::string> nodes;
  return nodes;
}

std::string& last_error() {
  static std::string text;
  return text;
}

bool read_number(PluginField const& field, double& value) {
  if (field.data == nullptr || field.length < 1) return false;
  switch (field.type) {
    case PluginFieldType::kINT32:
      value = *static_cast<int32_t const*>(field.data);
      return true;
    case PluginFieldType::kINT64:
      value = static_cast<double>(*static_cast<int64_t const*>(field.data));
      return true;
    case PluginFieldType::kFLOAT32:
      value = static_cast<double>(*static_cast<float const*>(field.data));
      return true;
    case PluginFieldType::kFLOAT64:
      value = *static_cast<double const*>(field.data);
      return true;
    default:
      return false;
  }
}

// Reads an int32 field in [low, high].
bool read_integer(PluginField const& field, double low, double high, int32_t& value, std::string& error) {
  double number = 0;
  bool const readable = read_number(field, number);
  if (!readable || number != static_cast<double>(static_cast<int64_t>(number)) || number < low || number > high) {
    error = std::string(field.name) + " is " + (readable ? std::to_string(number) : "no number") +
            ", expected an integer in [" + std::to_string(static_cast<int64_t>(low)) + ", " +
            std::to_string(static_cast<int64_t>(high)) + "]";
    return false;
  }
  value = static_cast<int32_t>(number);
  return true;
}

// Reads a CHAR field that must equal one of `choices`; the choice's index is the enumerator's value.
template <typename Enum, size_t kCount>
bool read_choice(PluginField const& field, char const* const (&choices)[kCount], Enum& value, std::string& error) {
  std::string text;
  if (field.type == PluginFieldType::kCHAR && field.data != nullptr && field.length > 0) {
    text.assign(static_cast<char const*>(field.data), static_cast<size_t>(field.length));
    text.resize(std::strlen(text.c_str()));  // some callers include the terminating zero in the length
  }
  std::string expected;
  for (size_t i = 0; i < kCount; ++i) {
    if (text == choices[i]) {
      value = static_cast<Enum>(i);
      return true;
    }
    expected += (i ? ", " : "") + std::string(choices[i]);
  }
  error = std::string(field.name) + " is '" + text + "', expected one of " + expected;
  return false;
}

bool read_alpha(PluginField const& field, float& value, std::string& error) {
  double alpha = -1;
  bool const readable = read_number(field, alpha);
  if (!readable || !(alpha >= 0.0 && alpha <= 1.0)) {
    error =
        "alpha is " + (readable ? std::to_string(alpha) : std::string("no number")) + ", expected a number in [0, 1]";
    return false;
  }
  value = static_cast<float>(alpha);
  return true;
}

// One field of a plugin: its name, the type it is announced with, and the function that reads it into a Config.
struct Field {
  char const* name;
  PluginFieldType type;
  bool (*read)(PluginField const&, Config&, std::string&);
};

constexpr int32_t kMaxTactic = 16;

// The operator's attributes, in the order of attributes.py, then the fields that only the plugin serialises.
constexpr Field kFields[] = {
    {"num_heads", PluginFieldType::kINT32,
     [](PluginField const& f, Config& c, std::string& e) {
       return read_integer(f, 1, 65535, c.attributes.num_heads, e);
     }},
    {"alpha", PluginFieldType::kFLOAT32,
     [](PluginField const& f, Config& c, std::string& e) { return read_alpha(f, c.attributes.alpha, e); }},
    {"iterations", PluginFieldType::kINT32,
     [](PluginField const& f, Config& c, std::string& e) {
       return read_integer(f, 1, generated::kMaxIterations, c.attributes.iterations, e);
     }},
    {"init", PluginFieldType::kCHAR,
     [](PluginField const& f, Config& c, std::string& e) {
       return read_choice(f, generated::kInits, c.attributes.init, e);
     }},
    {"value_pairing", PluginFieldType::kCHAR,
     [](PluginField const& f, Config& c, std::string& e) {
       return read_choice(f, generated::kValuePairings, c.attributes.value_pairing, e);
     }},
    {"head_dim", PluginFieldType::kINT32,
     [](PluginField const& f, Config& c, std::string& e) {
       return read_integer(f, 0, generated::kMaxHeadDim, c.head_dim, e);
     }},
    {"type", PluginFieldType::kINT32,
     [](PluginField const& f, Config& c, std::string& e) {
       int32_t type = 0;
       if (!read_integer(f, 0, static_cast<int32_t>(Type::kBrain), type, e)) return false;
       c.type = static_cast<Type>(type);
       return true;
     }},
    {"tactic", PluginFieldType::kINT32,
     [](PluginField const& f, Config& c, std::string& e) { return read_integer(f, 1, kMaxTactic, c.tactic, e); }},
};

constexpr bool equal(char const* a, char const* b) {
  while (*a != 0 && *a == *b) ++a, ++b;
  return *a == *b;
}

constexpr size_t kAttributes = sizeof(generated::kAttributeNames) / sizeof(generated::kAttributeNames[0]);

constexpr bool starts_with_the_attributes() {
  for (size_t i = 0; i < kAttributes; ++i) {
    if (!equal(kFields[i].name, generated::kAttributeNames[i])) return false;
  }
  return true;
}
static_assert(starts_with_the_attributes(), "kFields must begin with the attributes of plugins/attributes.py");

bool read_field(PluginField const& field, Config& config, std::string& error) {
  for (Field const& known : kFields) {
    if (field.name != nullptr && equal(known.name, field.name)) return known.read(field, config, error);
  }
  return true;  // plugin_version, plugin_namespace and the like concern TensorRT alone
}

}  // namespace

void note_serialized(std::string const& node, std::string const& metadata) {
  std::lock_guard<std::mutex> const lock(g_serialized_mutex);
  serialized()[node] = metadata;
}

void log_error(std::string const& message) noexcept {
  try {
    std::string const text = std::string(generated::kOpType) + ": " + message;
    {
      std::lock_guard<std::mutex> const lock(g_last_error_mutex);
      last_error() = text;
    }
    if (!log_to_host(g_logger_finder, text.c_str())) std::fprintf(stderr, "%s\n", text.c_str());
  } catch (...) {  // out of memory while reporting: the return code still reports a failure
  }
}

CdaPluginCreator::CdaPluginCreator() {
  for (size_t i = 0; i < kAttributes; ++i) {
    fields_.emplace_back(kFields[i].name, nullptr, kFields[i].type, kFields[i].type == PluginFieldType::kCHAR ? 0 : 1);
  }
  collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
}

nvinfer1::IPluginV3* CdaPluginCreator::createPlugin(nvinfer1::AsciiChar const* name,
                                                    nvinfer1::PluginFieldCollection const* fields,
                                                    nvinfer1::TensorRTPhase) noexcept {
  try {
    Config config;
    std::string error;
    auto const text = [](char const* key, char const* value) {
      return PluginField(key, value, PluginFieldType::kCHAR, static_cast<int32_t>(std::strlen(value)));
    };
    config.attributes.alpha = generated::kDefaultAlpha;
    config.attributes.iterations = generated::kDefaultIterations;
    read_field(text("init", generated::kDefaultInit), config, error);
    read_field(text("value_pairing", generated::kDefaultValuePairing), config, error);
    for (int32_t i = 0; fields != nullptr && error.empty() && i < fields->nbFields; ++i) {
      read_field(fields->fields[i], config, error);
    }
    if (error.empty() && config.attributes.num_heads == 0) error = "attribute num_heads is missing";
    config.node = name != nullptr ? name : "";
    if (error.empty()) return new CdaPlugin(config);
    log_error("node '" + config.node + "': " + error);
  } catch (std::exception const& exception) {
    log_error(exception.what());
  }
  return nullptr;
}

nvinfer1::AsciiChar const* CdaPluginCreator::getPluginName() const noexcept { return generated::kOpType; }
nvinfer1::AsciiChar const* CdaPluginCreator::getPluginVersion() const noexcept { return generated::kPluginVersion; }
nvinfer1::AsciiChar const* CdaPluginCreator::getPluginNamespace() const noexcept { return generated::kPluginNamespace; }

}  // namespace mutualformer

// TensorRT's registry.load_library looks for these.
MUTUALFORMER_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { mutualformer::g_logger_finder = finder; }

MUTUALFORMER_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static mutualformer::CdaPluginCreator creator;
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
  count = 1;
  return creators;
}

// What the library holds, for people and tests: "CrossDiffusionAttention version 1; sm_75, …".
MUTUALFORMER_EXPORT char const* mutualformer_plugin_info() {
  static std::string const info = std::string(mutualformer::generated::kOpType) + " version " +
                                  mutualformer::generated::kPluginVersion + "; " +
                                  mutualformer::generated::kArchitectures;
  return info.c_str();
}

// Copies the last error message into `text`, cut to `capacity` bytes with its terminating zero. TensorRT's own errors
// only report that a plugin refused; this message gives the reason.
MUTUALFORMER_EXPORT void mutualformer_last_error(char* text, size_t capacity) {
  std::lock_guard<std::mutex> const lock(mutualformer::g_last_error_mutex);
  std::snprintf(text, capacity, "%s", mutualformer::last_error().c_str());
}

// Writes "node<tab>metadata<newline>" for every node serialised since the last call into `text`, cut to `capacity`
// bytes with its terminating zero; returns the size of the whole text. A text that did not fit is kept for the next
// call.
MUTUALFORMER_EXPORT size_t mutualformer_serialized_nodes(char* text, size_t capacity) {
  std::lock_guard<std::mutex> const lock(mutualformer::g_serialized_mutex);
  std::string all;
  for (auto const& [node, metadata] : mutualformer::serialized()) all += node + "\t" + metadata + "\n";
  std::snprintf(text, capacity, "%s", all.c_str());
  if (all.size() < capacity) mutualformer::serialized().clear();
  return all.size() + 1;
}
