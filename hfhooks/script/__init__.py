"""What a script says, and how it comes to be served."""
