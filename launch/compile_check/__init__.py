"""Compiles the training step for TPUs without having any, and reads bytes, FLOPs and collectives from the program."""
