"""API keys, on both databases."""

from __future__ import annotations

import pytest

from switchboard.store import Database
from switchboard.store.keys import ApiKey, Keys

pytestmark = pytest.mark.anyio


def _key(n: int, name: str = "", profile: str = "p") -> ApiKey:
    return ApiKey(id=f"k{n}", hash=bytes([n]) * 32, name=name or f"key {n}", profile=profile, created=n)


async def test_a_key_is_found_by_its_hash(database: Database) -> None:
    keys = Keys(database)
    key = ApiKey("k", b"\0\xff" * 16, "ci", "web", 5, 9, None, None, '{"day": 1}', '["a"]', '["v1"]', "user")
    assert await keys.add(key)
    assert await keys.by_hash(key.hash) == key
    assert await keys.by_hash(b"other") is None
    assert "ff" not in repr(key) and "hash" not in repr(key)


async def test_no_two_keys_have_one_id_or_hash(database: Database) -> None:
    keys = Keys(database)
    assert await keys.add(_key(1))
    assert not await keys.add(ApiKey("k1", b"x", "n", "p", 1))
    assert not await keys.add(ApiKey("k2", _key(1).hash, "n", "p", 1))
    assert len(await keys.list()) == 1


async def test_keys_are_listed_newest_first_and_by_profile(database: Database) -> None:
    keys = Keys(database)
    for key in (_key(1), _key(2, profile="q"), _key(3)):
        await keys.add(key)
    assert [k.id for k in await keys.list()] == ["k3", "k2", "k1"]
    assert [k.id for k in await keys.list("p")] == ["k3", "k1"]


async def test_a_key_is_revoked_by_id_or_by_a_name_that_is_unique(database: Database) -> None:
    keys = Keys(database)
    for key in (_key(1, "a"), _key(2, "b"), _key(3, "b"), _key(4, "k1")):
        await keys.add(key)
    assert await keys.revoke("b", 10) is None
    assert await keys.revoke("nobody", 10) is None
    revoked = await keys.revoke("k1", 10)
    assert revoked is not None and (revoked.id, revoked.revoked) == ("k1", 10)
    assert (await keys.revoke("k1", 20)) == revoked
    assert (await keys.revoke("k2", 11)) is not None
    rest = await keys.revoke("b", 12)
    assert rest is not None and rest.id == "k3"
    found = await keys.by_hash(_key(3).hash)
    assert found is not None and found.revoked == 12


async def test_the_last_use_is_written_once_a_minute(database: Database) -> None:
    keys, other = Keys(database), Keys(database)
    await keys.add(_key(1))
    assert await keys.touch("k1", 1_000_000)
    assert not await keys.touch("k1", 1_059_999)
    assert not await other.touch("k1", 1_059_999)  # nor by another process
    assert await keys.touch("k1", 1_060_000)
    found = await keys.by_hash(_key(1).hash)
    assert found is not None and found.last_used == 1_060_000
    assert not await keys.touch("nobody", 1)
