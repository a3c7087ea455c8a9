// The host's logger, whichever TensorRT the host is.
#pragma once

namespace nvinfer1 {
class ILoggerFinder;
}

namespace mutualformer {

// Logs `text` as an error in the logger that `finder` finds; false where there is none, or where nothing is known about
// the host's interfaces.
bool log_to_host(nvinfer1::ILoggerFinder* finder, char const* text);

}  // namespace mutualformer
