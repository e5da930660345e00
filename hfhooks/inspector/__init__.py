"""What a server tells its own machine, on a listener of its own: nothing here is for the public."""
