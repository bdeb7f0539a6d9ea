"""Processes of this machine: their identity, and the end of those that agents started."""
