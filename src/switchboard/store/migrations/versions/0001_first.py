"""The first schema.

Times are milliseconds since the epoch (UTC), days numbers like 20260131, money billionths of a dollar, booleans 0 or 1.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up only what is called INTEGER


def _text(name: str, **more: object) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, **more)  # type: ignore[arg-type]


def _int(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, _NUMBER, primary_key=True, autoincrement=True)


def _hash(name: str, **more: object) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False, **more)  # type: ignore[arg-type]


def upgrade() -> None:
    """Make all tables."""
    _keys()
    _usage()
    _conversations()
    _sessions()


def _keys() -> None:
    op.create_table(
        "api_keys",
        _text("id", primary_key=True),
        _hash("hash", unique=True),
        _text("name"),
        _text("profile"),
        _int("created"),
        _int("expires", null=True),
        _int("revoked", null=True),
        _int("last_used", null=True),
        _text("quota"),
        _text("models"),
        _text("surfaces"),
        _text("act_as"),
    )
    op.create_index("api_keys_name", "api_keys", ["name"])


def _usage() -> None:
    op.create_table(
        "usage_rows",
        _number("number"),
        _int("at"),
        *(_text(n) for n in ("request_id", "caller", "user_label", "profile", "provider", "model", "dialect")),
        _int("status"),
        _text("outcome"),
        *(_int(n) for n in ("tokens_in", "tokens_out", "cached", "estimated", "characters", "seconds_ms", "images")),
        _int("cost_nano", null=True),
        _int("duration_ms"),
        sqlite_autoincrement=True,
    )
    op.create_index("usage_rows_at", "usage_rows", ["at"])
    # rows are looked for by user only to hand them over or to forget them. SQLite reads a million of them in a second;
    # two indexes more would make writing each row a half dearer, in the server's own process
    if op.get_bind().dialect.name != "sqlite":
        op.create_index("usage_rows_user", "usage_rows", ["user_label", "number"])
        op.create_index("usage_rows_caller", "usage_rows", ["caller", "number"])
    sums = ("requests", "errors", "tokens_in", "tokens_out", "cached", "characters", "seconds_ms", "images")
    op.create_table(
        "usage_days",
        _int("day"),
        *(_text(n) for n in ("profile", "caller", "provider", "model")),
        *(_int(n) for n in (*sums, "cost_nano", "unpriced")),
        sa.PrimaryKeyConstraint("day", "profile", "caller", "provider", "model"),
        sqlite_with_rowid=False,
    )
    op.create_index("usage_days_caller", "usage_days", ["caller", "day"])
    op.create_table("usage_batches", _text("id", primary_key=True), _int("at"))
    op.create_index("usage_batches_at", "usage_batches", ["at"])


def _conversations() -> None:
    op.create_table(
        "conversations",
        _number("number"),
        *(_text(n) for n in ("profile", "owner", "id", "user_label", "title")),
        *(_int(n) for n in ("created", "updated", "messages")),
        sa.UniqueConstraint("profile", "owner", "id"),
        sqlite_autoincrement=True,
    )
    op.create_index("conversations_newest", "conversations", ["profile", "owner", "updated", "number"])
    op.create_index("conversations_updated", "conversations", ["updated"])
    op.create_index("conversations_owner", "conversations", ["owner"])
    op.create_index("conversations_user", "conversations", ["user_label"])
    op.create_table(
        "conversation_messages",
        sa.Column("conversation", _NUMBER, sa.ForeignKey("conversations.number", ondelete="CASCADE"), nullable=False),
        _int("position"),
        _text("message"),
        sa.PrimaryKeyConstraint("conversation", "position"),
    )


def _sessions() -> None:
    op.create_table(
        "web_sessions",
        _hash("id_hash", primary_key=True),
        _text("owner"),
        _text("caller"),
        _text("profile"),
        _int("created"),
        _int("expires"),
    )
    op.create_index("web_sessions_owner", "web_sessions", ["owner"])
    op.create_index("web_sessions_expires", "web_sessions", ["expires"])
    op.create_table(
        "voice_sessions",
        _text("id", primary_key=True),
        *(_text(n) for n in ("owner", "user_label", "profile", "status")),
        _int("created"),
        _int("expires"),
        _int("ended", null=True),
        *(_text(n) for n in ("end_reason", "boot", "carrier")),
        _int("lease"),
    )
    op.create_index("voice_sessions_owner", "voice_sessions", ["owner", "created"])
    op.create_index("voice_sessions_user", "voice_sessions", ["user_label", "created"])
    op.create_index("voice_sessions_status", "voice_sessions", ["status", "boot"])
    op.create_index("voice_sessions_ended", "voice_sessions", ["ended"])
    op.create_table(
        "tickets",
        _hash("hash", primary_key=True),
        sa.Column("session", sa.Text(), sa.ForeignKey("voice_sessions.id", ondelete="CASCADE"), nullable=True),
        *(_text(n) for n in ("profile", "owner", "user_label", "api_key", "caller", "fields")),
        _int("expires"),
        _int("once"),
        _int("used", null=True),
    )
    op.create_index("tickets_session", "tickets", ["session"])
    op.create_index("tickets_expires", "tickets", ["expires"])
    op.create_index("tickets_owner", "tickets", ["owner"])
    op.create_table(
        "transcripts",
        sa.Column("session", sa.Text(), sa.ForeignKey("voice_sessions.id", ondelete="CASCADE"), nullable=False),
        _text("source"),
        _text("messages"),
        _int("updated"),
        sa.PrimaryKeyConstraint("session", "source"),
    )
