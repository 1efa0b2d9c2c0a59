"""Which provider and which of its models answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from switchboard.core.capabilities import Capabilities
from switchboard.core.errors import Problem
from switchboard.core.ports import Provider
from switchboard.core.types import Generate, Operation
from switchboard.policy.profile import Profile
from switchboard.policy.routing import Routing
from switchboard.policy.target import Target


class Fake:
    """As much of a provider as routing looks at."""

    configured = True

    def __init__(self, name: str, *models: str, any_model: bool = True) -> None:
        self.name = name
        self.models = models
        self.capabilities = Capabilities(any_model=any_model)

    def serves(self, operation: Operation, model: str) -> bool:
        return operation is Operation.GENERATE

    def default_model(self, operation: Operation) -> str:
        return self.models[0] if self.models else ""


def routing(*providers: Fake) -> Routing:
    return Routing({p.name: cast("Provider", p) for p in providers})


def plan(r: Routing, asked: str, profile: Profile, *, documents: bool, **params: Any) -> Sequence[Target]:
    return r.plan(
        Generate(asked, messages=[{"role": "user", "content": "hi"}], params=params), profile, documents=documents
    )


def found(r: Routing, asked: str, profile: Profile, *, documents: bool) -> tuple[str, str, bool]:
    target = plan(r, asked, profile, documents=documents)[0]
    return target.provider.name, target.model, target.substituted


BOTH = pytest.mark.parametrize("documents", [True, False])
OPENAI = Fake("openai")
UP = Fake("up", "llama", "qwen")
OFFLINE = Fake("offline", "echo", "slow", any_model=False)
ALL = (OPENAI, UP, OFFLINE)


@BOTH
def test_no_model_named(documents: bool) -> None:
    assert found(routing(*ALL), "", Profile(provider="openai", model="gpt"), documents=documents) == (
        "openai",
        "gpt",
        False,
    )
    assert found(routing(*ALL), "", Profile(provider="up"), documents=documents) == ("up", "llama", False)


@BOTH
def test_no_model_named_and_none_set(documents: bool) -> None:
    with pytest.raises(Problem) as e:
        plan(routing(OPENAI), "", Profile(provider="openai"), documents=documents)
    assert (e.value.status, e.value.param) == (400, "model")


@BOTH
def test_a_model_that_some_provider_lists(documents: bool) -> None:
    profile = Profile(provider="openai", model="gpt")
    assert found(routing(*ALL), "qwen", profile, documents=documents) == ("up", "qwen", False)
    assert found(routing(*ALL), "echo", profile, documents=documents) == ("offline", "echo", False)


@BOTH
def test_the_default_provider_s_models_come_first(documents: bool) -> None:
    a, b = Fake("a", "same"), Fake("b", "same")
    assert found(routing(a, b), "same", Profile(provider="b"), documents=documents)[0] == "b"
    assert found(routing(a, b, UP), "same", Profile(provider="up"), documents=documents)[0] == "a"


@BOTH
def test_provider_and_model(documents: bool) -> None:
    profile = Profile(provider="up")
    assert found(routing(*ALL), "openai/o9", profile, documents=documents) == ("openai", "o9", False)
    assert found(routing(*ALL), "offline/echo", profile, documents=documents) == ("offline", "echo", False)
    # slashes are part of many models' names
    assert found(routing(*ALL), "openai/meta/llama:7b@q4", profile, documents=documents)[1] == "meta/llama:7b@q4"


def test_a_model_that_nobody_serves_on_the_documents_paths() -> None:
    for profile, answers in (
        (Profile(provider="up"), ("up", "llama", True)),
        (Profile(provider="up", model="qwen"), ("up", "qwen", True)),
        (Profile(provider="offline", model="echo"), ("offline", "echo", True)),
    ):
        assert found(routing(*ALL), "gpt-4o", profile, documents=True) == answers


def test_a_model_that_nobody_lists_on_v1() -> None:
    r = routing(*ALL)
    # an OpenAI-like default provider whose settings list no models takes any name
    assert found(r, "gpt-new", Profile(provider="openai", model="gpt"), documents=False) == ("openai", "gpt-new", False)
    for provider in ("up", "offline"):
        with pytest.raises(Problem) as e:
            plan(r, "gpt-new", Profile(name=provider, provider=provider), documents=False)
        assert (e.value.code, e.value.status, e.value.param) == ("MODEL_NOT_FOUND", 404, "model")


def test_a_provider_that_lists_its_models_serves_no_others() -> None:
    r = routing(*ALL)
    for asked in ("up/nonesuch", "offline/nonesuch"):
        assert found(r, asked, Profile(provider="up"), documents=True) == ("up", "llama", True)
        with pytest.raises(Problem) as e:
            plan(r, asked, Profile(provider="up"), documents=False)
        assert e.value.code == "MODEL_NOT_FOUND"


def test_the_models_that_a_profile_allows() -> None:
    r = routing(*ALL)
    profile = Profile(provider="openai", model="gpt", models=("gpt", "qwen"))
    assert found(r, "qwen", profile, documents=True) == ("up", "qwen", False)
    assert found(r, "gpt", profile, documents=False) == ("openai", "gpt", False)
    for asked in ("llama", "openai/gpt-x", "up/llama", "gpt-x"):
        assert found(r, asked, profile, documents=True) == ("openai", "gpt", True)
        with pytest.raises(Problem) as e:
            plan(r, asked, profile, documents=False)
        assert e.value.status == 404


@BOTH
def test_a_locked_model(documents: bool) -> None:
    profile = Profile(provider="openai", model="gpt", locked=frozenset({"model"}))
    assert found(routing(*ALL), "qwen", profile, documents=documents) == ("openai", "gpt", True)
    assert found(routing(*ALL), "gpt", profile, documents=documents) == ("openai", "gpt", False)


@BOTH
@pytest.mark.parametrize(
    "asked", ["a b", "x" * 257, "naïve", "a\n", "a\r\nx: y", "<b>", " ", "a?b", "a%20b", '"', "\0"]
)
def test_names_that_cannot_be_one(asked: str, documents: bool) -> None:
    for locked in (frozenset[str](), frozenset({"model"})):
        with pytest.raises(Problem) as e:
            plan(routing(*ALL), asked, Profile(provider="openai", locked=locked), documents=documents)
        assert (e.value.code, e.value.status) == ("INVALID_MODEL", 400)


@BOTH
def test_the_longest_name(documents: bool) -> None:
    name = "a.b_c:d/e@f-" + "x" * 244
    assert len(name) == 256
    assert found(routing(OPENAI), name, Profile(provider="openai"), documents=documents)[1] == name


def test_what_is_remembered_is_bounded_and_right() -> None:
    r = routing(*ALL)
    profile = Profile(provider="openai", model="gpt")
    for _ in range(2):
        for n in range(3000):
            assert found(r, f"m{n}", profile, documents=False) == ("openai", f"m{n}", False)
    assert len(r._known) <= 1024
    # the paths do not share what they remember, nor do profiles
    up: dict[str, Any] = {"provider": "up"}
    assert found(r, "m1", Profile(name="second", **up), documents=True) == ("up", "llama", True)
