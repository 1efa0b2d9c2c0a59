"""What is asked and answered on each family of paths, one file each; below them, what they share: the shape of errors
and the envelope of every request."""
