"""TensorRT engines: targets, source, builder, layer_list, proof, compile."""
