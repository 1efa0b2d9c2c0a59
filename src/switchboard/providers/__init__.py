"""Who does the work: one file a provider, a declaration of where it is, how it is asked and what it can do."""
