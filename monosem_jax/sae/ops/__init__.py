"""Array operations of sparse autoencoders: selection, sparse products, the geometric median."""
