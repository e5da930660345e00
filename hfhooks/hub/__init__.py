"""The Hub, as its client library speaks to it."""
