"""API keys: their shape, their checksum, and what is kept of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.core.masking import mask_secrets
from switchboard.policy.api_keys import LONGEST, PATTERN, ApiKey, Parsed, hash_of, make, profile_of, read

PEPPER = b"0123456789abcdef"


@pytest.mark.parametrize("profile", ["default", "a", "0", "my_shop", "a_b_c_", "x-y_z-", "sb_sb_"])
def test_a_key_says_its_profile_and_id(profile: str) -> None:
    key = make(profile)
    assert read(key.text.encode()) == Parsed(profile, key.id)
    assert profile_of(key.text.encode()) == profile
    assert key.text.startswith(f"sb_{profile}_{key.id}_") and len(key.text) == len(profile) + 55
    assert PATTERN.search(b"see " + key.text.encode() + b" there")


def test_no_two_are_alike() -> None:
    made = [make("a") for _ in range(200)]
    assert len({k.id for k in made}) == len({k.text for k in made}) == 200


@pytest.mark.parametrize("profile", ["", "A", "_a", "-a", "a b", "é", "a\n", "a.b", "a" * (LONGEST - 54)])
def test_profiles_that_have_no_keys(profile: str) -> None:
    with pytest.raises(ValueError, match="profile"):
        make(profile)


def test_the_longest_profile_has_keys() -> None:
    key = make("a" * (LONGEST - 55))
    assert len(key.text) == LONGEST and read(key.text.encode()) is not None


@settings(deadline=None)
@given(st.data())
def test_a_typing_error_is_told(data: st.DataObject) -> None:
    text = make("shop").text
    i = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("ABCabc019_- ."))
    changed = text[:i] + letter + text[i + 1 :]
    assert (read(changed.encode()) is None) == (changed != text)
    assert read(text[:i].encode()) is None


def test_two_letters_that_changed_places_are_told() -> None:
    text = make("shop").text
    for i in range(8, len(text) - 1):
        swapped = text[:i] + text[i + 1] + text[i] + text[i + 2 :]
        assert (read(swapped.encode()) is None) == (swapped != text)


def test_a_typing_error_leaves_the_profile() -> None:
    text = make("shop").text
    wrong = text[:-1] + ("a" if text[-1] != "a" else "b")
    assert read(wrong.encode()) is None and profile_of(wrong.encode()) == "shop"


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_anything_else_is_none(data: bytes) -> None:
    for key in (data, b"sb_" + data, make("a").text.encode() + data[:1] if data else b""):
        assert read(key) is None
        profile_of(key)


@pytest.mark.parametrize("more", [b"\n", b"\0", b" ", b"x", b"sb_"])
def test_nothing_may_stand_around_it(more: bytes) -> None:
    text = make("a").text.encode()
    assert read(text + more) is None and read(more + text) is None


def test_what_is_kept_is_keyed() -> None:
    text = make("a").text
    assert hash_of(text, PEPPER) == hash_of(text.encode(), PEPPER) != hash_of(text, PEPPER + b"x")
    assert len(hash_of(text, PEPPER)) == 32
    with pytest.raises(ValueError, match="16 bytes"):
        hash_of(text, b"short")


def test_its_text_shows_nowhere() -> None:
    key = make("a")
    secret = key.text.rpartition("_")[2]
    assert secret not in repr(key) and secret not in str(key) and secret not in f"{[key]}"
    assert isinstance(key, ApiKey) and secret not in mask_secrets(f"asked with {key.text}.")
