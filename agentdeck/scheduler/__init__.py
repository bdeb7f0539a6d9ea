"""Pure: events in, actions out. No clock, no await, no I/O."""
