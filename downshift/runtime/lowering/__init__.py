"""From a plain ONNX sub-net to the typed graph the sparse kernels execute."""
