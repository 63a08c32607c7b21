"""HTTP. Knows jobs' answers, not workers."""
