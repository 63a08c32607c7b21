"""A tuning for people: the same rows on the terminal, in Markdown and on the page."""
