"""Workflow archives: what they hold and what their spec says. Serving them is `runner/workflow/`."""
