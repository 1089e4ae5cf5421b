"""Evidence about features, each kind a module that does not know the others."""
