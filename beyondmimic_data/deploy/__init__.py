"""Deployment: the denoiser as ONNX and TensorRT, proven equal to torch, in one folder with its contract."""
