"""Alembic's entry: runs the migrations on the connection that `store.migrate` made, in its transaction."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
# SQLite's DDL is transactional too, in a transaction that was begun
context.configure(connection=connection, target_metadata=None, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
