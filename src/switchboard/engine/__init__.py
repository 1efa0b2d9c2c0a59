"""Who holds a request: from its first byte, over the calls to providers, to its settlement."""
