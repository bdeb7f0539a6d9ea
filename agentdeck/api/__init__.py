"""The public Python API. Its names are imported from `agentdeck` itself."""
