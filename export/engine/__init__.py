"""TensorRT engines: targets, builder, layer_list, proof."""
