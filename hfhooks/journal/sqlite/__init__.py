"""The journal as a SQLite file of this machine."""
