// Access to the logger of the host, which may be any TensorRT.
#pragma once

namespace nvinfer1 {
class ILoggerFinder;
}

namespace mutualformer {

// Logs `text` as an error in the logger that `finder` finds; false where there is none, or where the host's interfaces
// are unknown.
bool log_to_host(nvinfer1::ILoggerFinder* finder, char const* text);

}  // namespace mutualformer
