"""What an operator can do with runs: the command line, the console and the Python API call these operations."""
