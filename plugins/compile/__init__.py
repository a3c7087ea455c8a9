"""Kernels to cubins to the plugin: ptxas, aot, embed; headers is what CMake asks."""
