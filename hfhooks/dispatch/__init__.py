"""Due deliveries, and what becomes of them."""
