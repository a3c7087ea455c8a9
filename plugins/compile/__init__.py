"""Kernels to cubins to the plugin: ptxas, images, aot, embed; headers is what CMake asks."""
