"""What tests stand on: a gateway in this process, in either shell, and a client that sees every byte."""
