"""Where counters are kept (`core.counting.Counters`): `local` in this process, `shared` among the workers of one host,
`redis` among hosts. None is imported before it is used."""
