"""The documentation, and what makes the pages that are made from code."""
