"""The worker: runs the user's code, never touches the journal or the tunnel."""
