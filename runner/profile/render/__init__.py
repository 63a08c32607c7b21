"""A profile for the terminal and as a page."""
