"""Stand-ins for what a machine without a GPU lacks.

driver*.cpp, cubin.cpp: libcuda.so.1 over host memory, built beside the plugin for tests; driver.py drives it,
interpreter.py and numpy_kernels.py execute its launches; memory.py holds host memory between guard bytes, engine.py a
node in it; machine.py is the acceptance's machine over all of that, tensorrt.py a TensorRT of one node, faults.py what
can be planted; ``python -m tests.standins`` runs one acceptance check so.
"""
