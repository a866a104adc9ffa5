"""Detectors that users bring: ONNX files of the usual layouts, or a Python class of theirs."""
