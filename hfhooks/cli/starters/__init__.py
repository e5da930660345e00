"""Scripts that `hfhooks init` writes, for a reader to go on from."""
