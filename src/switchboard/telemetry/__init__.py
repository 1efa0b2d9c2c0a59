"""What is seen from outside: log lines and metrics, written in batches and never in a request's way."""
