"""TensorRT engines: targets, builder, layer_list, work, proof, compile."""
