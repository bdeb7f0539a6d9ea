"""The panes of the run screen. Each shows one side of a `View`, by the seam in `console/pane.py`."""
