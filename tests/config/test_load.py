"""Reading the settings: what wins over what, what is refused, and how a complaint names its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from switchboard.config.load import FILES, SettingsError, Sources, load
from switchboard.config.tree import Settings

CANARY = "Canary7Kq9zHidden"


def read(
    directory: Path,
    text: str | bytes | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[tuple[str, ...], Any] | None = None,
    *,
    name: str = "switchboard.yaml",
    config: str | None = None,
) -> tuple[Settings, Sources]:
    """The settings of a directory with one settings file."""
    if text is not None:
        (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(flags or {}, environment or {}, config=config, directory=directory)


def complaints(directory: Path, *args: Any, **more: Any) -> list[str]:
    """What is wrong with them; they must be refused."""
    with pytest.raises(SettingsError) as e:
        read(directory, *args, **more)
    assert str(e.value) == "\n".join(e.value.complaints)
    return e.value.complaints


# ---- which source wins


def test_defaults_alone(tmp_path: Path) -> None:
    settings, sources = read(tmp_path)
    assert settings == Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert sources.file is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("switchboard.yaml", "port: 1001\nlog: {level: ERROR}\nchat:\n  model: from-file\n"),
        ("switchboard.yml", "port: 1001\nlog: {level: ERROR}\nchat:\n  model: from-file\n"),
        ("switchboard.toml", 'port = 1001\nlog.level = "ERROR"\n[chat]\nmodel = "from-file"\n'),
    ],
)
def test_flag_over_environment_over_file_over_default(tmp_path: Path, name: str, text: str) -> None:
    assert name in FILES
    settings, sources = read(tmp_path, text, name=name)
    assert (settings.port, settings.log.level, settings.chat.model) == (1001, "ERROR", "from-file")
    assert settings.chat.max_conversation_length == 50
    assert sources.file == str(tmp_path / name)
    environment = {"PORT": "1002", "AI_MODEL": "from-environment"}
    settings, _ = read(tmp_path, environment=environment)
    assert (settings.port, settings.log.level, settings.chat.model) == (1002, "ERROR", "from-environment")
    settings, _ = read(tmp_path, environment=environment, flags={("port",): 1003})
    assert (settings.port, settings.chat.model) == (1003, "from-environment")


def test_the_documents_variables(tmp_path: Path) -> None:
    settings, _ = read(
        tmp_path,
        environment={
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_BASE_URL": "http://localhost:9/v1",
            "OPENAI_REALTIME_API_URL": "wss://localhost:9/v1/realtime",
            "ACCESS_KEY": "k-1",
            "PORT": "9000",
            "LOG_LEVEL": "warning",
            "AI_MODEL": "gpt-x",
            "AI_TEMPERATURE": "0.25",
            "AI_MAX_TOKENS": "77",
            "AI_TOP_P": "0.5",
        },
    )
    openai = settings.providers["openai"]
    assert [k.get_secret_value() for k in openai.api_key] == ["sk-1"]
    assert (openai.base_url, openai.realtime_url) == ("http://localhost:9/v1", "wss://localhost:9/v1/realtime")
    assert [k.get_secret_value() for k in settings.auth.access_key] == ["k-1"]
    assert (settings.port, settings.log.level) == (9000, "WARNING")
    chat = settings.chat
    assert (chat.model, chat.temperature, chat.max_tokens, chat.top_p) == ("gpt-x", 0.25, 77, 0.5)


def test_variables_with_levels(tmp_path: Path) -> None:
    settings, _ = read(
        tmp_path,
        "shutdown: {accept: 1}\n",
        {
            "SWITCHBOARD_SHUTDOWN__STREAMS": "2.5",
            "SWITCHBOARD_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "SWITCHBOARD_PUBLIC_URL": "https://chat.example.com",
            "SWITCHBOARD_HTTPS": "require",
            "SWITCHBOARD_CHAT__MODELS": '["a", "b"]',
            "SWITCHBOARD_CHAT__TRIM_V1": "true",
            "SWITCHBOARD_CHAT__SYSTEM_PROMPT": "Be brief, please.",
            "SWITCHBOARD_PROVIDERS__UP__BASE_URL": "http://localhost:9/v1",
            "SWITCHBOARD_PROVIDERS__UP__TIMEOUTS__CONNECT": "1",
            "SWITCHBOARD_PROVIDERS__UP__HEADERS": '{"x-a": "1"}',
        },
    )
    assert (settings.shutdown.accept, settings.shutdown.streams) == (1, 2.5)
    assert settings.trusted_proxies == ["10.0.0.0/8", "::1"]
    assert (settings.public_url, settings.https) == ("https://chat.example.com", "require")
    assert (settings.chat.models, settings.chat.trim_v1) == (["a", "b"], True)
    assert settings.chat.system_prompt == "Be brief, please."
    up = settings.providers["up"]
    assert (up.base_url, up.timeouts.connect) == ("http://localhost:9/v1", 1)
    assert up.headers["x-a"].get_secret_value() == "1"


def test_the_long_name_of_a_variable_works_too(tmp_path: Path) -> None:
    settings, _ = read(tmp_path, environment={"SWITCHBOARD_PORT": "7000", "SWITCHBOARD_AUTH__ACCESS_KEY": "k"})
    assert (settings.port, len(settings.auth.access_key)) == (7000, 1)


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    settings, _ = read(tmp_path, "port: 1001\n", {"PORT": "", "ACCESS_KEY": "", "OPENAI_API_KEY_FILE": ""})
    assert (settings.port, settings.auth.access_key, settings.providers) == (1001, [], {})


def test_other_programs_variables_do_not_matter(tmp_path: Path) -> None:
    assert read(tmp_path, environment={"PATH": "/bin", "AI_SOMETHING": "x", "PORTS": "y"})[0] == Settings()


# ---- the file


def test_a_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("port = 1001\n")
    assert read(tmp_path, "port: 1002\n", config="other.toml")[0].port == 1001
    assert read(tmp_path, environment={"SWITCHBOARD_CONFIG": "other.toml"})[0].port == 1001
    assert read(tmp_path, environment={"SWITCHBOARD_CONFIG": str(tmp_path / "other.toml")})[0].port == 1001


def test_a_named_file_that_is_not_there(tmp_path: Path) -> None:
    (said,) = complaints(tmp_path, config="nowhere.yaml")
    assert "nowhere.yaml" in said and "No such file" in said


def test_two_settings_files(tmp_path: Path) -> None:
    (tmp_path / "switchboard.toml").write_text("port = 1\n")
    (said,) = complaints(tmp_path, "port: 2\n")
    assert "switchboard.yaml and switchboard.toml" in said


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "chat:\nlog:\n"])
def test_an_empty_file_or_section(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text)[0] == Settings()


@pytest.mark.parametrize("text", ["providers:\n", "providers:\n  # openai: {}\n"])
def test_an_empty_table_is_an_empty_section_too(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text)[0] == Settings()


def test_a_provider_that_is_named_and_empty(tmp_path: Path) -> None:
    for text in ("providers:\n  openai:\n", "providers: {openai: {}}\n"):
        settings, _ = read(tmp_path, text, {"OPENAI_API_KEY": "sk-1"})
        assert len(settings.providers["openai"].api_key) == 1


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("switchboard.yaml", "port: 1\nchat: [\n", 3),
        ("switchboard.yaml", "port: 1\n  host: x\n", 2),
        ("switchboard.yaml", "port: 1\nchat:\n\tmodel: x\n", 3),
        ("switchboard.yaml", "port: 1\nchat: {model: 'x}\n", 3),
        # what YAML takes for a date, and a character that no YAML may hold
        ("switchboard.yaml", "port: 1\nchat: {model: \x01}\n", 2),
        ("switchboard.toml", "port = 1\nchat = {\n", 2),
        ("switchboard.toml", "port = 1\nport = 2\n", 2),
        ("switchboard.toml", "port = 1\n\nhost: x\n", 3),
    ],
)
def test_a_file_that_cannot_be_parsed_names_the_line(tmp_path: Path, name: str, text: str, line: int) -> None:
    (said,) = complaints(tmp_path, text, name=name)
    assert name in said
    assert f"line {line}" in said
    assert ("YAML" if name.endswith("yaml") else "TOML") in said


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"port: 1\xff", "UTF-8"), (b"- a\n- b\n", "a list"), (b"just words", "text"), (b"#" * (1 << 20) + b"#", "1 MiB")],
)
def test_a_file_that_is_no_table(tmp_path: Path, data: bytes, why: str) -> None:
    (said,) = complaints(tmp_path, data)
    assert "switchboard.yaml" in said and why in said


# ---- what is refused


def test_everything_is_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    said = complaints(
        tmp_path,
        "hsots: [a]\nhost: 5\nlog: {level: LOUD}\nproviders:\n  up: {base_ulr: x}\n  ftp: {base_url: 'ftp://x'}\n",
        {"SWITCHBOARD_CHAT__MODLE": "x", "AI_TEMPERATURE": "hot", "OPENAI_API_KEY_FILE": "/nonexistent/key"},
        {("port",): 99_999},
    )
    places = {
        "switchboard.yaml: hsots": "did you mean hosts?",
        "switchboard.yaml: host:": "text is expected",
        "switchboard.yaml: log.level": "'INFO'",
        "switchboard.yaml: providers.up.base_ulr": "did you mean providers.up.base_url?",
        "switchboard.yaml: providers.ftp.base_url": "http:// or https://",
        "SWITCHBOARD_CHAT__MODLE": "did you mean SWITCHBOARD_CHAT__MODEL?",
        "AI_TEMPERATURE": "number",
        "OPENAI_API_KEY_FILE": "No such file",
        "--port": "65535",
    }
    for place, hint in places.items():
        assert any(s.startswith(place) and hint in s for s in said), (place, said)
    assert len(said) == len(places)


def test_what_contradicts_itself_is_told_beside_what_is_wrong_by_itself(tmp_path: Path) -> None:
    said = complaints(tmp_path, "prot: 1\nchat: {locked: [mood]}\n", flags={("host",): "0.0.0.0"})
    assert len(said) == 3
    assert any(s.startswith("--host") and "ACCESS_KEY" in s for s in said)
    assert any("chat.locked" in s and "'mood'" in s for s in said)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SWITCHBOARD_PROT", "SWITCHBOARD_PORT"),
        ("SWITCHBOARD_LIMITS__REQUEST_PER_MINUTE", "SWITCHBOARD_LIMITS__REQUESTS_PER_MINUTE"),
        ("SWITCHBOARD_AI_MODEL", "AI_MODEL"),
        ("SWITCHBOARD_CHAT", "there is no such setting"),
        ("SWITCHBOARD_PORT_FILE", "there is no such setting"),
        ("SWITCHBOARD_PORT__X", "there is no such setting"),
    ],
)
def test_unknown_variables(tmp_path: Path, name: str, hint: str) -> None:
    (said,) = complaints(tmp_path, environment={name: "x"})
    assert said.startswith(f"{name}: ") and hint in said


@pytest.mark.parametrize(
    "line", ["x: 1", "5: 1", "log: {levle: INFO}", "providers: {openai: {key: x}}", "tls: {ca: x}"]
)
def test_unknown_keys_say_what_may_stand_there(tmp_path: Path, line: str) -> None:
    (said,) = complaints(tmp_path, line)
    assert "there is no such key" in said
    assert "did you mean" in said or "here may stand" in said


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("port: eight\n", "port"),
        ("port: 80.5\n", "port"),
        ("port: [80]\n", "port"),
        # a yes or no is no number
        ("port: true\n", "port"),
        ("chat: {max_tokens: yes}\n", "chat.max_tokens"),
        ("chat: {temperature: true}\n", "chat.temperature"),
        ("host: [a]\n", "host"),
        ("hosts: a\n", "hosts"),
        ("hosts: {a: b}\n", "hosts"),
        ("chat: {model: 4}\n", "chat.model"),
        ("chat: {trim_v1: perhaps}\n", "chat.trim_v1"),
        ("chat: text\n", "chat"),
        ("providers: [openai]\n", "providers"),
        ("providers: {openai: sk}\n", "providers.openai"),
        ("timeouts: {idle: .inf}\n", "timeouts.idle"),
        ("timeouts: {idle: -1}\n", "timeouts.idle"),
        ("trusted_proxies: [everyone]\n", "trusted_proxies"),
        ("public_url: chat.example.com\n", "public_url"),
        ("cors: {origins: ['example.com']}\n", "cors.origins"),
        ("cors: {origins: ['https://example.com/page']}\n", "cors.origins"),
        ("auth: {access_key: 'two words'}\n", "auth.access_key"),
        ("auth: {access_key: [a, 5]}\n", "auth.access_key"),
        ("providers: {up: {base_url: 'http://u:p@h/v1'}}\n", "providers.up.base_url"),
        ("providers: {Up: {base_url: 'http://h/v1'}}\n", "providers.Up"),
    ],
)
def test_wrong_types_and_values_in_the_file(tmp_path: Path, text: str, place: str) -> None:
    said = complaints(tmp_path, text)
    assert len(said) == 1
    assert said[0].startswith(f"switchboard.yaml: {place}")


def test_a_wrong_value_in_a_variable_names_the_variable(tmp_path: Path) -> None:
    wrong = {"PORT": "x", "LOG_LEVEL": "loud", "AI_TOP_P": "2", "AI_MAX_TOKENS": "0", "SWITCHBOARD_HTTPS": "maybe"}
    said = complaints(tmp_path, environment=wrong)
    assert sorted(s.split(" ")[0].rstrip(":") for s in said) == sorted(wrong)


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("chat: 5\n", {"AI_MODEL": "m"}),
        ("auth: key\n", {"ACCESS_KEY": "k"}),
        ("providers: openai\n", {"OPENAI_API_KEY": "k"}),
        ("providers: {openai: k}\n", {"OPENAI_API_KEY": "k"}),
        ("log: [x]\n", {"LOG_LEVEL": "INFO"}),
    ],
)
def test_a_section_that_is_none_under_a_variable(tmp_path: Path, text: str, environment: dict[str, str]) -> None:
    said = complaints(tmp_path, text, environment)
    assert any(s.startswith("switchboard.yaml: ") and "a table of keys is expected" in s for s in said)


def test_an_empty_table_under_a_variable(tmp_path: Path) -> None:
    settings, _ = read(tmp_path, "providers:\n", {"OPENAI_API_KEY": "k"})
    assert len(settings.providers["openai"].api_key) == 1


# ---- secrets


SECRETS = {
    "OPENAI_API_KEY": ("providers", "openai"),
    "ACCESS_KEY": ("auth",),
    "SWITCHBOARD_AUTH__ACCESS_KEY": ("auth",),
    "SWITCHBOARD_PROVIDERS__UP__API_KEY": ("providers", "up"),
}


def secret_values(settings: Settings) -> list[str]:
    found = [k.get_secret_value() for k in settings.auth.access_key]
    for p in settings.providers.values():
        found += [k.get_secret_value() for k in p.api_key]
        found += [v.get_secret_value() for v in p.headers.values()]
    return found


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_from_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text(f"{CANARY}\n")
    base = "providers: {up: {base_url: 'http://localhost:9/v1'}}\n" if "UP" in name else ""
    settings, _ = read(tmp_path, base, {f"{name}_FILE": str(tmp_path / "secret")})
    assert secret_values(settings) == [CANARY]


@pytest.mark.parametrize(
    "text",
    [
        "auth: {access_key_file: SECRET}\n",
        "providers: {openai: {api_key_file: SECRET}}\n",
        "providers: {up: {base_url: 'http://localhost:9/v1', headers: {x-key_file: SECRET}}}\n",
    ],
)
def test_secrets_from_files_named_in_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(CANARY)
    settings, _ = read(tmp_path, text.replace("SECRET", str(tmp_path / "secret")))
    assert secret_values(settings) == [CANARY]


def test_a_provider_s_header_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(CANARY)
    settings, _ = read(
        tmp_path,
        "providers: {up: {base_url: 'http://localhost:9/v1'}}\n",
        {"SWITCHBOARD_PROVIDERS__UP__HEADERS__AUTHORIZATION_FILE": str(tmp_path / "secret")},
    )
    headers = settings.providers["up"].headers
    assert {k: v.get_secret_value() for k, v in headers.items()} == {"authorization": CANARY}


def test_several_keys_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("one\ntwo\n")
    settings, _ = read(tmp_path, environment={"ACCESS_KEY_FILE": str(tmp_path / "secret")})
    assert secret_values(settings) == ["one", "two"]


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xff\xfe"])
def test_an_empty_or_unreadable_secret_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    for name in ("ACCESS_KEY", "OPENAI_API_KEY"):
        (said,) = complaints(tmp_path, environment={f"{name}_FILE": str(tmp_path / "secret")})
        assert said.startswith(f"{name}_FILE: ")
        assert ("not a text file" if content.startswith(b"\xff") else "is empty") in said
    (said,) = complaints(tmp_path, f"auth: {{access_key_file: {tmp_path / 'secret'}}}\n")
    assert said.startswith("switchboard.yaml: auth.access_key_file: ")


@pytest.mark.parametrize("value", ["/nonexistent", "[a]", "5", "{a: b}"])
def test_a_secret_file_that_is_none(tmp_path: Path, value: str) -> None:
    (said,) = complaints(tmp_path, f"auth: {{access_key_file: {value}}}\n")
    assert said.startswith("switchboard.yaml: auth.access_key_file: ")


def test_a_secret_and_its_file_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("one")
    said = complaints(tmp_path, environment={"ACCESS_KEY": "two", "ACCESS_KEY_FILE": str(tmp_path / "secret")})
    assert said == ["ACCESS_KEY and ACCESS_KEY_FILE are both set; keep one"]


def test_only_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("m")
    (said,) = complaints(tmp_path, f"chat: {{model_file: {tmp_path / 'model'}}}\n")
    assert "chat.model_file: there is no such key" in said
    assert read(tmp_path, "", {"AI_MODEL_FILE": str(tmp_path / "model")})[0].chat.model is None


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        (f"auth: {{access_key: '{CANARY} x'}}\n", {}),
        (f"auth: {{access_key: [{CANARY}, 5]}}\n", {}),
        (f"auth: {{access_key: {{{CANARY}: {CANARY}}}}}\n", {}),
        (f"auth: {CANARY}\n", {}),
        (f"providers: {{openai: {CANARY}}}\n", {}),
        (f"providers: {{openai: {{api_key: {{a: {CANARY}}}}}}}\n", {}),
        (f"providers: {{up: {{base_url: 'http://u:{CANARY}@h/v1'}}}}\n", {}),
        (f"providers: {{up: {{base_url: 'http://h/v1?key={CANARY}'}}}}\n", {}),
        (f"providers: {{up: {{base_url: 'http://h/v1', headers: {{'a b': {CANARY}}}}}}}\n", {}),
        (f"providers: {{up: {{base_url: 'http://h/v1', headers: {{a: [{CANARY}]}}}}}}\n", {}),
        (f'auth: {{access_key: "{CANARY}\n', {}),
        (f'auth: {{access_key: "\\q{CANARY}"}}\n', {}),
        # a random key may begin with what means something in YAML
        (f"auth:\n  access_key: !{CANARY}\n", {}),
        (f"auth:\n  access_key: *{CANARY}\n", {}),
        (f"auth:\n  access_key: !x!{CANARY}\n", {}),
        ("", {"ACCESS_KEY": f"{CANARY} x"}),
        ("", {"OPENAI_API_KEY": f"ü{CANARY}"}),
        ("", {"OPENAI_BASE_URL": f"http://u:{CANARY}@h/v1"}),
        ("", {"SWITCHBOARD_PROVIDERS__UP__HEADERS": f'{{"a": "{CANARY}"'}),
        ("", {"SWITCHBOARD_PROVIDERS__UP": f'{{"api_key": "{CANARY}"}}'}),
        ("", {"SWITCHBOARD_PROVIDERS": f'{{"up": {{"api_kye": "{CANARY}"}}}}'}),
    ],
)
def test_no_complaint_shows_a_secret(tmp_path: Path, text: str, environment: dict[str, str]) -> None:
    said = complaints(tmp_path, text, environment)
    assert said != []
    assert CANARY not in "\n".join(said)


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    settings, _ = read(
        tmp_path,
        f"auth: {{access_key: [{CANARY}a, {CANARY}b]}}\n"
        f"providers:\n  up: {{base_url: 'http://h/v1', api_key: {CANARY}c, headers: {{x-key: {CANARY}d}}}}\n",
        {"OPENAI_API_KEY": f"{CANARY}e"},
    )
    assert len(secret_values(settings)) == 5
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert CANARY not in text
