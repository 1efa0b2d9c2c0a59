"""What a request and a chunk cost: `python -m bench`."""
