"""Framing, sans I/O: bytes in, frames out. No sockets, no meaning."""
