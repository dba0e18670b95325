"""Personal data and secrets: where they stand in a text."""
