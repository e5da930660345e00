"""The gateway: faces the internet, records every delivery, never imports user code."""
