"""What an operator writes: the value, the loader, the graph, expressions, and the check."""
