"""The log of a run on the screen: storing, filtering and drawing its lines."""
