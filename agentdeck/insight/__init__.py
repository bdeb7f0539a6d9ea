"""Pure questions over workflows and recorded runs."""
