"""LLM providers behind one interface, and the prices of their answers."""
