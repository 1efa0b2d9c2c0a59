"""What is said on each wire, sans I/O: how a request and its answer look to a client, to a provider, or to both."""
