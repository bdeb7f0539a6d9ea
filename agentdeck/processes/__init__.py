"""Processes on this machine: their identity, and how those that agents started are ended."""
