"""The console: the Textual app, its screens and panes. Only this package imports textual."""
