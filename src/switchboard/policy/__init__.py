"""Pure decisions over data, made at once: who may ask, how much, which model answers, with what settings."""
