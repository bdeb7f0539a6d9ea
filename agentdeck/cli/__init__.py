"""The headless twin: one module per verb."""
