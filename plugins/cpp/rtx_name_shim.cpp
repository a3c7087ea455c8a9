// Deliberately empty: only the library's name, libtensorrt_rtx.so, and its dependency matter (CMakeLists.txt).
