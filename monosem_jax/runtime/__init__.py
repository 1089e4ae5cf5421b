"""What any long program needs, without any science: directories, checkpoints, meshes, processes, signals."""
