"""Compiles the training step for TPUs that need not be there, and reads bytes, FLOPs and collectives from it."""
