"""The parent's half of a worker."""
