"""Sockets: the front door that clients come through, and the pool that reaches providers. Library errors become ours
here and nowhere else."""
