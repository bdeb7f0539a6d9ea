"""An agent, a provider and an observer for agentdeck."""
