"""`hfhooks deliveries`: what came in, and what became of it."""
