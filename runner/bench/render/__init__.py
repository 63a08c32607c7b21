"""A report as people and programs want it. One file per form, each `Report` → text."""
