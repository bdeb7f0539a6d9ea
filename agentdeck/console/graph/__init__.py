"""The graph of a run: laid out left to right, drawn on a canvas of cells, and walked with the arrow keys."""
