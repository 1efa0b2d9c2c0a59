"""``doctor``: each fault is found and comes with what to do, and no secret is in anything that it says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from msgspec import Struct

from support.process import ROOT, Program
from switchboard import compiled
from switchboard.cli.doctor import examine
from switchboard.cli.findings import Check
from switchboard.config.names import KNOWN
from switchboard.net.script import Again, Request, Reset, ScriptServer, answer

pytestmark = pytest.mark.anyio

Run = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[..., AbstractContextManager[Program]]
CANARY = "Canary7Kq9zHidden"


class Found(Struct):
    """What was found: its lines by what was looked at."""

    checks: dict[str, dict[str, str]]

    def failed(self) -> list[str]:
        return [what for what, check in self.checks.items() if check["state"] == "failed"]


Doctor = Callable[..., Awaitable[Found]]


def models(hours: float = 0) -> bytes:
    """A list of models, told by a clock that is `hours` away from ours."""
    at = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    return answer(b'{"object":"list","data":[]}', headers=f"date: {at}\r\n")


def upstream(said: bytes, tls: ssl.SSLContext | None = None) -> ScriptServer:
    return ScriptServer([Request(), said, Again()], tls=tls)


def up(server: ScriptServer, **more: Any) -> str:
    """Settings with one provider of our own, and a model that nobody has retired."""
    row = {"base_url": server.base_url, "api_key": CANARY, "headers": {"x-more": f"{CANARY}-2"}} | more
    return json.dumps({"providers": {"up": row}, "chat": {"model": "ours"}})


@contextmanager
def listener() -> Iterator[int]:
    """A port that some program has."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        yield int(s.getsockname()[1])


def closed_port() -> int:
    with listener() as port:
        return port


def found_in(rows: list[dict[str, str]], code: int | None = None) -> Found:
    for row in rows:
        assert list(row) == ["what", "state", "text", "fix"]
        assert row["state"] in ("ok", "warning", "failed", "skipped") and row["text"]
        assert row["fix"] or row["state"] != "failed", row
    assert CANARY not in json.dumps(rows)
    found = Found({row["what"]: row for row in rows})
    assert code in (None, 1 if found.failed() else 0)
    return found


@pytest.fixture
def doctor(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Have the program look, with a settings file of that text, data in a folder of the test's own and a free port."""
    for name in [*KNOWN, "HTTPS_PROXY", "https_proxy"]:
        monkeypatch.delenv(name, raising=False)

    async def go(settings: str = "", *flags: str, **environment: str) -> Found:
        (tmp_path / "switchboard.yaml").write_text(settings)
        environment = {"SWITCHBOARD_DATA_DIR": str(tmp_path / "data"), "PORT": "0"} | environment
        done = await asyncio.to_thread(run, "doctor", "--json", *flags, **environment)
        assert done.stderr == ""
        assert CANARY not in done.stdout
        return found_in(json.loads(done.stdout), done.returncode)

    return go


@pytest.fixture
def look(tmp_path: Path) -> Doctor:
    """The same in this process, which is sooner done."""

    async def go(settings: str = "", **environment: str) -> Found:
        (tmp_path / "switchboard.yaml").write_text(settings)
        environment = {"SWITCHBOARD_DATA_DIR": str(tmp_path / "data"), "PORT": "0"} | environment
        checks = await examine({}, environment, str(tmp_path / "switchboard.yaml"), offline=False)
        return found_in([{n: getattr(c, n) for n in Check.__struct_fields__} for c in checks])

    return go


# ---- as it should be, and how it looks


async def test_all_is_fine(doctor: Doctor, run: Run, tmp_path: Path) -> None:
    async with upstream(models()) as server:
        found = await doctor(up(server))
        assert found.failed() == []
        # where sources have changed since, they run as they are
        assert found.checks.pop("compiled modules")["state"] == ("ok" if compiled.fresh() else "warning")
        assert {check["state"] for check in found.checks.values()} == {"ok"}
        assert {check["fix"] for check in found.checks.values()} == {""}
        assert list(found.checks) == [
            "settings",
            "port 0",
            "provider up (default)",
            "models",
            "data folder",
            "disk",
            "database",
            "clock",
        ]
        assert found.checks["settings"]["text"].endswith("switchboard.yaml")
        heard = server.connections[0].heard
        assert heard.startswith(b"GET /v1/models HTTP/1.1\r\n") and f"Bearer {CANARY}\r\n".encode() in heard
        # it leaves nothing behind
        assert os.listdir(tmp_path) == ["switchboard.yaml"]
        done = await asyncio.to_thread(run, "doctor", PORT="0", XDG_DATA_HOME=str(tmp_path / "data"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) >= 9 and all(line.startswith("ok  ") for line in lines if "compile" not in line)
    assert CANARY not in done.stdout


async def test_for_people(doctor: Doctor, run: Run, tmp_path: Path) -> None:
    (tmp_path / "switchboard.yaml").write_text("providers: {openai: {}}\n")
    done = await asyncio.to_thread(run, "doctor", "--offline", PORT="0", XDG_DATA_HOME=str(tmp_path / "data"))
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("failed"))
    assert "provider openai" in lines[at] and "no key" in lines[at]
    assert lines[at + 1].lstrip().startswith("→ set OPENAI_API_KEY")


async def test_nothing_is_set_up(look: Doctor) -> None:
    found = await look()
    assert found.failed() == []
    check = found.checks["provider offline (default)"]
    assert (check["state"], found.checks["clock"]["state"]) == ("warning", "skipped")
    assert "OPENAI_API_KEY" in check["fix"]


async def test_offline_asks_nobody(doctor: Doctor) -> None:
    async with upstream(models()) as server:
        found = await doctor(up(server), "--offline")
        assert (found.failed(), server.connections) == ([], [])
    assert found.checks["provider up (default)"]["state"] == "skipped"
    assert found.checks["clock"]["state"] == "skipped"


# ---- settings


async def test_settings_that_cannot_be_used(run: Run, doctor: Doctor, tmp_path: Path) -> None:
    wrong = f"hsot: x\nchat: {{temprature: 1}}\nauth: {{acces_key: {CANARY}}}\nproviders: {{u: {{base_url: 'http://u:{CANARY}@h/v1'}}}}\n"
    (tmp_path / "switchboard.yaml").write_text(wrong)
    done = await asyncio.to_thread(run, "doctor", "--json", "--port", "99999", OPENAI_API_KEY_FILE="nowhere")
    assert (done.returncode, done.stderr) == (1, "")
    rows = json.loads(done.stdout)
    assert {(row["what"], row["state"]) for row in rows} == {("settings", "failed")}
    texts = [row["text"] for row in rows]
    assert len(texts) == len(set(texts)) == 6
    for place, hint in {
        "hsot": "did you mean host?",
        "chat.temprature": "did you mean chat.temperature?",
        "auth.acces_key": "did you mean auth.access_key?",
        "providers.u.base_url": "no user name or password",
        "--port": "65535",
        "OPENAI_API_KEY_FILE": "cannot be read",
    }.items():
        assert any(place in text and hint in text for text in texts), place
    assert all(row["fix"] for row in rows)
    assert CANARY not in done.stdout
    done = await asyncio.to_thread(run, "doctor", "--port", "99999", OPENAI_API_KEY_FILE="nowhere")
    assert (done.returncode, done.stdout.count("\nfailed") + 1) == (1, 6)


# ---- providers


async def test_no_key(look: Doctor) -> None:
    found = await look("providers: {openai: {}, anthropic: {}, mine: {type: openai}}")
    assert found.failed() == ["provider openai", "provider anthropic", "provider mine"]
    for name, variable in {
        "openai": "OPENAI_API_KEY",
        "anthropic": "ANTHROPIC_API_KEY",
        "mine": "SWITCHBOARD_PROVIDERS__MINE__API_KEY",
    }.items():
        check = found.checks[f"provider {name}"]
        assert "no key" in check["text"]
        assert f"set {variable}," in check["fix"] and f"{variable}_FILE" in check["fix"]


async def test_no_key_for_providers_that_are_only_spoken_of(look: Doctor) -> None:
    settings = {
        "chat": {"provider": "anthropic"},
        "profiles": {"app": {"provider": "huggingface", "model": "m"}},
        "routes": {"fast": ["openai/m"]},
    }
    found = await look(json.dumps(settings))
    assert set(found.failed()) == {"provider anthropic (default)", "provider huggingface", "provider openai"}
    fixes = "".join(check["fix"] for check in found.checks.values())
    assert all(f"set {variable}," in fixes for variable in ("ANTHROPIC_API_KEY", "HF_TOKEN", "OPENAI_API_KEY"))


async def test_a_deployment_that_lost_its_key(look: Doctor) -> None:
    found = await look(SWITCHBOARD_HOST="0.0.0.0", ACCESS_KEY=CANARY)
    assert found.failed() == ["provider openai (default)"]


async def test_wrong_keys(doctor: Doctor) -> None:
    said = json.dumps({"error": {"message": f"Incorrect API key provided: {CANARY}."}}).encode()
    async with upstream(answer(said, status=401)) as one, upstream(answer(said, status=403)) as two:
        rows = {"openai": {"base_url": one.base_url}, "up": {"base_url": two.base_url, "api_key": f"{CANARY}-2"}}
        found = await doctor(json.dumps({"providers": rows}), OPENAI_API_KEY=CANARY)
    for what, status, fix in [
        ("provider openai (default)", "401", "check OPENAI_API_KEY"),
        ("provider up", "403", "check SWITCHBOARD_PROVIDERS__UP__API_KEY"),
    ]:
        check = found.checks[what]
        assert (check["state"], check["fix"]) == ("failed", fix)
        assert "key" in check["text"] and status in check["text"]


async def test_hosts_that_cannot_be_reached(look: Doctor) -> None:
    port = closed_port()
    async with ScriptServer([Request(), Reset()]) as resetting, ScriptServer([Request()]) as closing:
        rows = {
            "closed": {"base_url": f"http://127.0.0.1:{port}/v1"},
            "unknown": {"base_url": "http://no-such-host.invalid/v1"},
            "resetting": {"base_url": resetting.base_url},
            "closing": {"base_url": closing.base_url},
        }
        found = await look(json.dumps({"providers": rows, "chat": {"model": "ours"}}))
    assert found.failed() == ["provider closed (default)", *(f"provider {n}" for n in list(rows)[1:])]
    for name in rows:
        check = next(check for what, check in found.checks.items() if what.startswith(f"provider {name}"))
        assert "cannot be reached" in check["text"]
        assert f"providers.{name}.base_url" in check["fix"]
    assert found.checks["clock"]["state"] == "skipped"


async def test_wrong_base_urls(look: Doctor) -> None:
    page = b"<!DOCTYPE html><html><body>Welcome</body></html>"
    said = {
        "page": (answer(page, kind="text/html"), "HTML"),
        "missing-page": (answer(page[15:], kind="text/html", status=404), "HTML"),
        "text": (answer(b"Ollama is running", kind="text/plain"), "not with JSON"),
        "nothing": (answer(b"", kind="text/plain"), "not with JSON"),
        "other-path": (answer(b'{"detail":"Not Found"}', status=404), "404"),
        "no-http": (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as it should"),
    }
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(upstream(what)) for name, (what, _) in said.items()}
        rows = {name: {"base_url": server.base_url} for name, server in servers.items()}
        found = await look(json.dumps({"providers": rows, "chat": {"provider": "offline"}}))
    assert found.failed() == [f"provider {name}" for name in said]
    for name, (_, text) in said.items():
        check = found.checks[f"provider {name}"]
        assert text in check["text"] and f"providers.{name}.base_url" in check["fix"]


async def test_providers_with_a_bad_day_are_no_fault_here(look: Doctor) -> None:
    async with AsyncExitStack() as stack:
        rows = {}
        for status in (429, 500, 503):
            server = await stack.enter_async_context(upstream(answer(b"{}", status=status)))
            rows[f"p{status}"] = {"base_url": server.base_url}
        found = await look(json.dumps({"providers": rows, "chat": {"provider": "offline"}}))
    assert found.failed() == []
    for name in rows:
        check = found.checks[f"provider {name}"]
        assert check["state"] == "warning" and name[1:] in check["text"] and check["fix"]


def tls_server(ca: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return context


async def test_tls(look: Doctor, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trusted = str(tmp_path / "ca.pem")
    async with (
        upstream(models(), tls_server(ca, "localhost")) as good,
        upstream(models(), tls_server(ca, "elsewhere.example")) as other,
    ):
        rows = {
            "stranger": {"base_url": good.base_url},
            "other": {"base_url": other.base_url, "ca_file": trusted},
            "known": {"base_url": good.base_url, "ca_file": trusted},
        }
        found = await look(json.dumps({"providers": rows, "chat": {"model": "ours"}}))
    assert found.failed() == ["provider stranger (default)", "provider other"]
    for what in found.failed():
        check = found.checks[what]
        assert "TLS" in check["text"] and "certificate" in check["fix"] and "ca_file" in check["fix"]
    assert "verify failed" in found.checks["provider stranger (default)"]["text"]
    assert "localhost" in found.checks["provider other"]["text"]
    assert found.checks["provider known"]["state"] == "ok"


async def test_a_proxy_that_is_not_there(doctor: Doctor) -> None:
    """Its address may hold a password."""
    proxy = f"http://me:{CANARY}@127.0.0.1:{closed_port()}"
    settings = json.dumps({"providers": {"openai": {"api_key": CANARY}}, "chat": {"model": "ours"}})
    found = await doctor(settings, HTTPS_PROXY=proxy)
    check = found.checks["provider openai (default)"]
    assert check["state"] == "failed"
    assert "proxy" in check["text"] and "HTTPS_PROXY" in check["fix"]


@pytest.mark.parametrize(("hours", "text"), [(-1, "fast"), (2, "slow")])
async def test_a_clock_that_is_off(look: Doctor, hours: float, text: str) -> None:
    async with upstream(models(hours)) as server:
        found = await look(up(server))
    check = found.checks["clock"]
    assert found.failed() == ["clock"]
    seconds, _, rest = check["text"].partition(" s ")
    assert abs(int(seconds) - abs(hours) * 3600) < 30 and rest.startswith(text)
    assert check["fix"]


# ---- models


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, date]:
    """The program with a table of retirements of our own, and the day that it counts from."""
    src = tmp_path_factory.mktemp("aged")
    shutil.copytree(ROOT / "src" / "switchboard", src / "switchboard", ignore=shutil.ignore_patterns("__pycache__"))
    today = datetime.now(UTC).date()
    days = {"long-gone": -400, "gone": -2, "soon": 2, "late": 87, "later": 93, "never": 4000}
    rows = [f'"{name}" = {{ on = {today + timedelta(days=n)}, successor = "heir" }}' for name, n in days.items()]
    rows.append(f'"family-*" = {{ on = {today - timedelta(days=9)}, successor = "heir" }}')
    (src / "switchboard" / "policy" / "retired_models.toml").write_text(
        "[openai]\n" + "\n".join(rows) + "\n[anthropic]\n"
    )
    return src, today


def aged_doctor(
    aged: tuple[Path, date], folder: Path, settings: dict[str, Any]
) -> dict[tuple[str, str], dict[str, str]]:
    """What it says of models, by what it looked at and what there is to do; that is never a failure."""
    (folder / "switchboard.yaml").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "switchboard", "doctor", "--json", "--offline"]
    kept = {k: v for k, v in os.environ.items() if k not in KNOWN and not k.startswith("SWITCHBOARD_")}
    own = {"PYTHONPATH": str(aged[0]), "XDG_DATA_HOME": str(folder / "data"), "PORT": "0", "OPENAI_API_KEY": CANARY}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=kept | own, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {(row["what"], row["fix"]): row for row in json.loads(done.stdout) if row["what"].startswith("model")}


async def test_voice_sessions_of_which_nothing_passes_here(look: Doctor) -> None:
    found = await look(
        "providers: {offline: {}}\nvoice: {connect: direct}\nprofiles: {a: {voice: {connect: relay}}, b: {voice: {connect: direct}}}"
    )
    told = {what: check for what, check in found.checks.items() if "voice" in what}
    assert set(told) == {"voice", "profiles.b.voice"}
    assert told["voice"]["state"] == "warning" and "budgets do not hold" in told["voice"]["text"]


def test_models_that_answer_by_themselves_are_in_use(aged: tuple[Path, date], tmp_path: Path) -> None:
    table = aged[0] / "switchboard" / "policy" / "retired_models.toml"
    before = table.read_text()
    table.write_text(f'[openai]\n"gpt-4o-mini-tts*" = {{ on = {aged[1] + timedelta(days=9)} }}\n[anthropic]\n')
    try:
        told = aged_doctor(aged, tmp_path, {"chat": {"model": "ours"}})
    finally:
        table.write_text(before)
    row = told["model gpt-4o-mini-tts", "name another in speech.model"]
    assert row["state"] == "warning" and "from then on nothing answers in its place" in row["text"]


def test_models_that_are_gone_or_going(aged: tuple[Path, date], tmp_path: Path) -> None:
    names = ["long-gone", "gone", "soon", "late", "later", "never", "family-7", "ours"]
    chat = {"model": "ours", "models": names}
    told = aged_doctor(aged, tmp_path, {"chat": chat})
    assert {check["state"] for check in told.values()} == {"warning"}
    assert {fix for _, fix in told} == {"name heir in chat.models"}
    found = {what: check for (what, _), check in told.items()}
    assert set(found) == {f"model {name}" for name in ["long-gone", "gone", "soon", "late", "family-7"]}
    for name, days in {"gone": -2, "long-gone": -400, "family-7": -9}.items():
        text = found[f"model {name}"]["text"]
        assert f"retired since {aged[1] + timedelta(days=days)}" in text and "heir answers" in text
    for name, days in {"soon": 2, "late": 87}.items():
        text = found[f"model {name}"]["text"]
        assert f"retires on {aged[1] + timedelta(days=days)}" in text and "heir answers" in text


def test_wherever_a_model_is_named(aged: tuple[Path, date], tmp_path: Path) -> None:
    settings = {
        "chat": {"model": "gone"},
        "profiles": {"app": {"model": "long-gone"}, "b": {"models": ["ours", "soon"], "model": "ours"}},
        "providers": {
            "openai": {"models": ["late", "gone", "ours", "soon", "long-gone"]},
            "own": {"type": "openai", "models": ["family-2"], "api_key": CANARY},
        },
        "routes": {"fast": ["openai/soon", "own/family-1"]},
    }
    found = aged_doctor(aged, tmp_path, settings)
    assert {(what.removeprefix("model "), fix.removeprefix("name heir in ")) for what, fix in found} == {
        ("gone", "chat.model"),
        ("long-gone", "profiles.app.model"),
        ("soon", "profiles.b.models"),
        *((name, "providers.openai.models") for name in ("late", "gone", "soon", "long-gone")),
        ("family-2", "providers.own.models"),
        ("soon", "routes.fast"),
        ("family-1", "routes.fast"),
    }


@pytest.mark.parametrize(
    ("chat", "place"),
    [
        ({"model": "openai/gone"}, "chat.model"),
        ({"model": "ours", "models": ["ours", "openai/gone"]}, "chat.models"),
    ],
)
def test_models_that_are_named_with_their_provider(
    aged: tuple[Path, date], tmp_path: Path, chat: dict[str, Any], place: str
) -> None:
    found = aged_doctor(aged, tmp_path, {"chat": chat})
    assert [fix.replace("openai/", "") for _, fix in found] == [f"name heir in {place}"]


def test_models_of_others_and_names_of_our_own_are_not_told_of(aged: tuple[Path, date], tmp_path: Path) -> None:
    settings = {
        "providers": {"up": {"base_url": "http://127.0.0.1:1/v1", "models": ["gone"]}},
        "routes": {"gone": ["openai/ours"]},
        "chat": {"provider": "openai", "model": "gone"},
    }
    found = aged_doctor(aged, tmp_path, settings)
    assert {what: check["state"] for (what, _), check in found.items()} == {"models": "ok"}


# ---- the machine


async def test_a_port_that_another_program_has(doctor: Doctor) -> None:
    with listener() as port:
        found = await doctor("", PORT=str(port))
    check = found.checks[f"port {port}"]
    assert found.failed() == [f"port {port}"]
    assert "another program" in check["text"] and "--port" in check["fix"]
    assert (await doctor("", PORT=str(port))).checks[f"port {port}"]["state"] == "ok"


async def test_a_port_that_our_own_server_has(doctor: Doctor, serve: Serve, tmp_path: Path) -> None:
    with serve(SWITCHBOARD_DATA_DIR=str(tmp_path / "data")) as p:
        port = re.findall(r"page +http://127\.0\.0\.1:(\d+)/", "".join(p.said))[0]
        found = await doctor("", "--port", port)
        check = found.checks[f"port {port}"]
        assert check["state"] == "ok" and str(p.process.pid) in check["text"]
        # a server with another data folder is another program
        found = await doctor("", "--port", port, SWITCHBOARD_DATA_DIR=str(tmp_path / "other"))
        assert found.failed() == [f"port {port}"]


async def test_an_address_that_is_not_ours(look: Doctor) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        found = await look("providers: {offline: {}}", SWITCHBOARD_HOST=host, PORT="8123", ACCESS_KEY=CANARY)
        assert found.failed() == ["port 8123"]
        assert "--host" in found.checks["port 8123"]["fix"]


async def test_data_folders_that_cannot_be_written(look: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, text in [
        (tmp_path / "file" / "below" / "it", "not a folder"),
        (Path("/sys/switchboard/data"), "cannot be written"),
    ]:
        found = await look("", SWITCHBOARD_DATA_DIR=str(folder))
        assert found.failed() == ["data folder"], folder
        check = found.checks["data folder"]
        assert text in check["text"] and "SWITCHBOARD_DATA_DIR" in check["fix"]


def test_a_data_folder_that_cannot_even_be_looked_into(tmp_path: Path) -> None:
    """As a user that is not root, whoever runs the tests."""
    (tmp_path / "closed").mkdir(mode=0)
    command = [sys.executable, "-m", "switchboard", "doctor", "--json", "--offline"]
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "PORT": "0"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd="/",
        env=own | {"SWITCHBOARD_DATA_DIR": str(tmp_path / "closed" / "data")},
        user=65534 if os.geteuid() == 0 else None,
        timeout=20,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    row = next(row for row in json.loads(done.stdout) if row["what"] == "data folder")
    assert row["state"] == "failed" and row["fix"]


async def test_a_folder_that_is_there_is_left_as_it_is(look: Doctor, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    found = await look(SWITCHBOARD_DATA_DIR=str(tmp_path / "mine"))
    check = found.checks["data folder"]
    assert (check["state"], check["text"]) == ("ok", str(tmp_path / "mine"))
    assert os.listdir(tmp_path / "mine") == []
    assert re.fullmatch(r"[\d.]+ GiB free", found.checks["disk"]["text"])
