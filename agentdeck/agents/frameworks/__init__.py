"""Objects of agent frameworks as agents: one module per family of objects, each a plugin."""
