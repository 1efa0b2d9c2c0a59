"""Whatever a text holds, it is stored as a text: nothing in it is taken for SQL, and no two keys for one another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from support.postgres import PostgresServer
from switchboard.store import Database
from switchboard.store.conversations import Conversations
from switchboard.store.keys import ApiKey, Keys
from switchboard.store.text import MOST, key, label, to_json
from switchboard.store.tickets import TicketRow, Tickets
from switchboard.store.transcripts import Transcripts
from switchboard.store.usage import By, UsageLog
from switchboard.store.usage_row import UsageRow
from switchboard.store.voice_sessions import Heard, VoiceSessions
from switchboard.store.web_sessions import WebSession, WebSessions

ATTACKS = [
    "'; DROP TABLE api_keys; --",
    "' OR '1'='1",
    '"; DELETE FROM usage_days; --',
    "\\'; SELECT 1; --",
    "%s %(a)s ? $1 :a %%",
    "Robert'); DROP TABLE conversations;--",
    "1 UNION SELECT hash FROM api_keys",
    "\0",
    "a\0b",
    "\ud800",
    "~" + "0" * 64,
    "e\u0301 \u202e \U0001f600 \ufeff",
    "x" * 100_000,
    "\U0001f600" * 3000,
    "",
]
anything = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(st.characters(codec=None, exclude_categories=())),
    st.tuples(st.sampled_from(ATTACKS), st.text()).map("".join),
)


@given(anything)
def test_a_key_can_be_stored_and_is_short(text: str) -> None:
    stored = key(text)
    assert len(stored.encode()) <= MOST and "\0" not in stored


@given(anything, anything)
@example("a\0b", "a\ufffdb")
@example("x" * 5000, "x" * 5001)
def test_different_keys_stay_different(one: str, other: str) -> None:
    assert (key(one) == key(other)) is (one == other)
    assert key(key(one)) != key(one) or key(one) == one


@given(anything, st.integers(4, 500))
def test_a_label_can_be_stored_and_is_short(text: str, most: int) -> None:
    stored = label(text, most)
    assert len(stored.encode()) <= most and "\0" not in stored
    if len(text) * 4 <= most and "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text):
        assert stored == text


@given(anything)
def test_json_can_be_stored(text: str) -> None:
    stored = to_json({"content": [text]})
    assert "\0" not in stored
    stored.encode()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def runner_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One database for all examples: they must not touch one another anyway."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('text')}/store.db"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create()
        yield url
        server.drop(url)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(anything, min_size=6, max_size=6))
@example(texts=ATTACKS[:6])
@example(texts=ATTACKS[6:12])
@example(texts=[*ATTACKS[12:], "'", "?", "''"])
def test_texts_in_every_field_stay_texts(runner_url: str, texts: list[str]) -> None:
    asyncio.run(_everywhere(runner_url, texts))


async def _everywhere(url: str, texts: list[str]) -> None:
    database = Database.open(url)
    database.start()
    try:
        await _store_and_find(database, *texts)
        tables = "api_keys usage_rows usage_days usage_batches conversations conversation_messages"
        for table in [*tables.split(), "web_sessions", "voice_sessions", "tickets", "transcripts"]:
            left = await database.run(lambda db, t=table: db.rows(f"SELECT COUNT(*) FROM {t}"), write=False)  # type: ignore[misc]
            assert left == [(0,)] or table in ("api_keys", "usage_days", "usage_batches"), table
    finally:
        await database.close()


async def _store_and_find(database: Database, a: str, b: str, c: str, d: str, e: str, f: str) -> None:
    keys = Keys(database)
    secret = (a + b).encode("utf-8", "surrogatepass")
    await keys.add(ApiKey(a, secret, b, c, 1, quota=to_json(d), models=to_json([e]), surfaces=to_json([f]), act_as=d))
    await keys.list(c)
    await keys.touch(a, 1)
    assert await keys.revoke(a, 2) is not None
    await database.run(lambda db: db.change("DELETE FROM api_keys"), write=True)

    held = Conversations(database)
    assert await held.append(c, d, e, 0, [{"content": b}], 1, title=f, user=a)
    found = await held.load(c, d, e)
    assert found is not None and found.messages == [{"content": b.encode("utf-8", "replace").decode()}]
    assert len((await held.list(c, d)).items) == 1
    assert await held.delete(c, d, e)

    voice = VoiceSessions(database)
    ticket = TicketRow(secret, a, d, b, c, "", to_json(e), to_json(f), 9, True)
    assert await voice.connect(a, b, c, d, at=1, expires=9, ticket=ticket)
    used = await Tickets(database).redeem(secret, d, 1, e, f, 9)
    assert used is not None
    opened = await voice.opened(used)
    assert opened is not None
    session = opened[0]
    heard = [Heard(session.id, 1, session.carrier, [{"content": b}])]
    assert await voice.tend(e, [(session.id, session.carrier)], 2, lease=9, heard=heard) == {}
    assert await Transcripts(database).put(d, b, a, [{"content": f}], 1)
    assert len(await Transcripts(database).get(a)) == 2
    assert len(await voice.list(d, owner=b, user=c)) == 1
    assert await voice.delete(d, b, a)

    web = WebSessions(database)
    assert await web.add(WebSession(secret, a, to_json(b), c, 1, 9))
    assert await web.delete_for(a) == 1

    log = UsageLog(database)
    row = UsageRow(1, a, b, c, d, e, f, a, 200, b)
    assert await log.write([row], "")
    assert len(await log.view(b, d, 0, 99999999, By.MODEL)) == 1
    user = c or b
    if user:
        assert await log.erase(user) == 1
    await database.run(
        lambda db: (db.change("DELETE FROM usage_rows"), db.change("DELETE FROM usage_days")), write=True
    )
