"""Trained weights in use: apply, evaluate, sample, and write for other programs.

`trained` has the class that does all of it; `sampling` draws tokens; `tensors`,
`stablehlo` and `onnx_file` write files.
"""
