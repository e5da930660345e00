"""The commands, one a file: each gathers its options, calls a few functions, prints."""
