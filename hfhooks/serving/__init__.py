"""The ways to run a server."""
