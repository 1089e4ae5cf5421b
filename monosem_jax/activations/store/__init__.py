"""Activations on disk, and the stream of batches from them. The only door to TensorStore."""
