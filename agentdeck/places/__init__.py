"""Where attempts run. Each kind of place is a plugin."""
