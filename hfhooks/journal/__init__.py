"""What is recorded, and the door to it."""
