"""URLs of databases, and their passwords."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from switchboard.store import Database, Kind, StoreError
from switchboard.store.schema import upgrade
from switchboard.store.urls import masked, sqlite_path


def test_a_file_is_named_relative_or_absolute() -> None:
    assert sqlite_path("sqlite:///data/a.db") == Path("data/a.db")
    assert sqlite_path("sqlite:////srv/a b%20.db") == Path("/srv/a b%20.db")


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://u:geheim@h/d", "/a.db"])
def test_other_urls_are_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as e:
        Database.open(url)
    assert "geheim" not in str(e.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:geheim@h/d", "no geheim here"),
        ("postgresql://u:ge@heim@h/d", 'no host "heim@h", no ge@heim'),
        ("postgresql://u:ge/heim@h/d", 'no port "ge", no heim@h, no ge/heim'),
        ("postgresql://u:geh%65im@h/d", "no geh%65im, no geheim"),
        ("postgresql://u@h/d?password=geheim", "no geheim"),
        ("postgresql://u@h/d?sslmode=require&password=geh%65im", "no geheim, no geh%65im"),
        ("postgresql://:geheim@h/d", "no geheim"),
    ],
)
def test_no_part_of_a_password_is_shown(url: str, said: str) -> None:
    assert not set(re.findall(r"[\w%]+", masked(said, url))) & {"geheim", "geh%65im", "heim", "ge"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:geheim@127.0.0.1:1/d",
        "postgresql://u:geheim:xy@127.0.0.1:1/d",
        "postgresql://u:ge@heim@127.0.0.1:1/d",
        "postgresql://u:ge/heim@127.0.0.1:1/d",
        "postgresql://u:geh%eim@127.0.0.1:1/d",
        "postgres://u@127.0.0.1:1/d?password=geheim",
    ],
)
async def test_trouble_never_tells_the_password(url: str) -> None:
    database = Database.open(url)
    database.start()
    with pytest.raises(StoreError) as e:
        await database.run(lambda db: db.rows("SELECT 1"), write=True)
    assert e.value.kind is Kind.UNAVAILABLE
    for said in (str(e.value), database.trouble, repr(database)):
        assert "heim" not in said
    await database.close()
    with pytest.raises(StoreError) as e:
        upgrade(url)
    assert "heim" not in str(e.value)
