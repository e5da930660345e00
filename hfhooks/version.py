"""The version of this hfhooks, where the public names do not come with it."""

__all__ = ["__version__"]

__version__ = "0.1.0"
