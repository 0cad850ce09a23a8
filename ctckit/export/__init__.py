"""A trained model for other programs: as an ONNX graph, or as safetensors; each with a check on real clips."""
