"""``init``: the file that it writes is one that the server takes, and it never writes over anybody's."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.process import BIN
from switchboard.cli.init_text import EXAMPLES, PROPOSED, Answers, key_variable, scalar, settings_text
from switchboard.config.load import load
from switchboard.config.names import KNOWN
from switchboard.config.tree import Settings
from switchboard.providers import kinds

Run = Callable[..., subprocess.CompletedProcess[str]]
#: What each provider cannot do without.
NEEDED = {"azure": ["--base-url", "https://me.openai.azure.com"]}
PROVIDERS = [name for name, kind in kinds().items() if kind.chats]


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and addresses of whoever runs the tests do not count."""
    for name in KNOWN:
        monkeypatch.delenv(name, raising=False)


def written(directory: Path, name: str = "switchboard.yaml") -> Settings:
    """The settings of the file as the server reads it, started in that folder."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        return load({}, {}, config=name)[0]
    finally:
        os.chdir(before)


def refused(done: subprocess.CompletedProcess[str], status: int) -> str:
    """What it said when it wrote nothing."""
    assert (done.returncode, done.stdout) == (status, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


def files(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_help_names_every_provider(run: Run) -> None:
    said = run("init", "--help").stdout
    assert all(name in said for name in PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_written_passes_check(run: Run, tmp_path: Path, provider: str) -> None:
    done = run("init", "--provider", provider, *NEEDED.get(provider, []))
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path) == ["switchboard.yaml"]
    checked = run("check")
    assert (checked.returncode, checked.stderr) == (0, "")
    settings = written(tmp_path)
    assert settings.chat.provider == provider
    assert list(settings.providers) == [provider]
    assert settings.chat.model is None  # what answers then is the provider's own default
    assert kinds()[provider].model in (tmp_path / "switchboard.yaml").read_text()


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("azure", "AZURE_OPENAI_API_KEY"),
        ("huggingface", "HF_TOKEN"),
    ],
)
def test_keys_are_named_and_not_written(run: Run, tmp_path: Path, provider: str, name: str) -> None:
    assert KNOWN[name] == ("providers", provider, "api_key")
    done = run("init", "--provider", provider, *NEEDED.get(provider, []), **{name: ""})
    assert f"set {name} to your key" in done.stdout
    text = (tmp_path / "switchboard.yaml").read_text()
    assert f"set the variable {name}" in text and "#api_key_file: " in text
    # whose key is there already has nothing to set
    done = run("init", "--force", "--provider", provider, *NEEDED.get(provider, []), **{name: "Canary7Kq9z"})
    assert "your key" not in done.stdout and "Next: switchboard serve" in done.stdout
    assert "Canary" not in (tmp_path / "switchboard.yaml").read_text() + done.stdout


def test_without_a_word_nothing_stands_in_the_way_of_the_first_answer(run: Run, tmp_path: Path) -> None:
    """Offline until a key is there, whoever's it is: neither provider nor model are laid down."""
    assert run("init", "--yes").returncode == 0
    settings = written(tmp_path)
    assert (settings.chat.provider, settings.chat.model, list(settings.providers)) == (None, None, ["openai"])
    assert (settings.host, settings.port, settings.auth.access_key) == ("127.0.0.1", 8000, [])


def test_flags(run: Run, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    prompt = 'Be brief:\n  - "no" lists\n\n# none'
    done = run(
        *("--port", "9000", "init", "--output", "conf/my own.yaml", "--provider", "compatible", "--defaults"),
        *("--base-url", "http://gpu-1:8000/v1", "--model", "qwen3-32b", "--system", prompt, "--access-key"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Next: switchboard serve --config 'conf/my own.yaml'" in done.stdout
    settings = written(tmp_path, "conf/my own.yaml")
    assert settings.providers["compatible"].base_url == "http://gpu-1:8000/v1"
    assert (settings.port, settings.chat.model, settings.chat.system_prompt) == (9000, "qwen3-32b", prompt)
    # the file with the key is found from wherever the server is started
    assert run("check", "--config", "conf/my own.yaml").returncode == 0
    assert len(written(Path("/"), str(tmp_path / "conf" / "my own.yaml")).auth.access_key) == 1


@pytest.mark.parametrize(
    ("where", "environment"), [(["--config", "a.yaml"], {}), ([], {"SWITCHBOARD_CONFIG": "a.yaml"})]
)
def test_the_file_is_the_one_that_would_be_read(
    run: Run, tmp_path: Path, where: list[str], environment: dict[str, str]
) -> None:
    assert run(*where, "init", **environment).returncode == 0
    assert files(tmp_path) == ["a.yaml"]
    assert "a.yaml" in run(*where, "check", **environment).stdout


def test_a_place_that_the_environment_knows(run: Run, tmp_path: Path) -> None:
    assert run("init", "--provider", "azure", AZURE_OPENAI_ENDPOINT="https://me.openai.azure.com").returncode == 0
    assert written(tmp_path).providers["azure"].base_url == "https://me.openai.azure.com"


# ---- the access key


def test_an_access_key(run: Run, tmp_path: Path) -> None:
    done = run("init", "--access-key", "--host", "0.0.0.0")
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "switchboard.access-key"
    assert file.stat().st_mode & 0o777 == 0o600
    key = file.read_text().strip()
    assert re.fullmatch(r"[0-9a-f]{64}", key)
    assert key not in done.stdout + (tmp_path / "switchboard.yaml").read_text()
    assert "access_key_file: switchboard.access-key\n" in (tmp_path / "switchboard.yaml").read_text()
    assert [k.get_secret_value() for k in written(tmp_path).auth.access_key] == [key]
    # clients may have it: it is kept, and told of if others can read it
    file.chmod(0o644)
    done = run("init", "--access-key", "--force")
    assert file.read_text().strip() == key
    assert "Kept switchboard.access-key" in done.stdout and "chmod 600" in done.stdout


def test_beyond_this_machine_there_is_one_unless_it_is_refused(run: Run, tmp_path: Path) -> None:
    said = refused(run("init", "--host", "0.0.0.0", "--no-access-key"), 2)
    assert "switchboard.yaml: host" in said and "nothing was written" in said
    assert files(tmp_path) == []
    assert run("init", "--host", "0.0.0.0").returncode == 0
    assert files(tmp_path) == ["switchboard.access-key", "switchboard.yaml"]
    assert run("check").returncode == 0


# ---- what is refused


def test_a_file_that_is_there_is_left_as_it_is(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "switchboard.yaml"
    file.write_text("port: 1\n")
    said = refused(run("init", "--access-key"), 1)
    assert "switchboard.yaml is there already" in said and "--force" in said
    assert file.read_text() == "port: 1\n" and files(tmp_path) == ["switchboard.yaml"]
    file.chmod(0o640)
    assert run("init", "--force").returncode == 0
    assert "port: 1" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_second_settings_file_is_not_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "switchboard.toml").write_text("port = 1\n")
    for flags in ([], ["--force"]):
        assert "switchboard.toml is there already" in refused(run("init", *flags), 1)
    assert run("init", "--output", "other.yaml").returncode == 0
    assert files(tmp_path) == ["other.yaml", "switchboard.toml"]


@pytest.mark.parametrize(
    ("flags", "status", "hint"),
    [
        (["--provider", "azure"], 2, "https://NAME.openai.azure.com"),
        (["--provider", "offline", "--base-url", "http://h/v1"], 2, "--base-url"),
        (["--provider", "nonsense"], 2, "anthropic"),
        (["--provider", "azure_speech"], 2, "that chats"),
        (["--base-url", "h/v1"], 2, "http://"),
        (["--model", "a b"], 2, "cannot be the name of a model"),
        (["--port", "99999"], 2, "switchboard.yaml: port"),
        (["--system", "\udcff"], 2, "not UTF-8"),
        (["--output", "a.toml"], 2, "YAML"),
        (["--output", "nowhere/a.yaml"], 1, "there is no folder nowhere"),
        (["--output", "folder.yaml", "--force"], 1, "cannot be written"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_written(
    run: Run, tmp_path: Path, flags: list[str], status: int, hint: str
) -> None:
    (tmp_path / "folder.yaml").mkdir()
    said = refused(run("init", *flags, "--access-key"), status)
    assert hint in said
    assert files(tmp_path) == ["folder.yaml"]


# ---- the questions


def conversation(directory: Path, *answers: tuple[str, str]) -> tuple[int, str]:
    """The program on a terminal: each answer is given when its question is there. Status and all that was said."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SWITCHBOARD_", "OPENAI_"))}
    command = [str(BIN / "switchboard"), "init"]
    said = b""

    def hear() -> bytes:
        try:
            return os.read(ours, 65536)
        except OSError:  # nobody has the other end
            return b""

    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=directory, env=environment) as p:
        os.close(theirs)
        for question, answer in answers:
            new = b""
            while question.encode() not in new:
                data = hear()
                assert data, said + new
                new += data
            said += new
            os.write(ours, answer.encode() + b"\n")
        while data := hear():
            said += data
        code = p.wait(20)
    os.close(ours)
    return code, said.decode()


def test_the_questions(tmp_path: Path) -> None:
    code, said = conversation(
        tmp_path,
        ("[openai]: ", "gemini"),
        ("it is one of", "compatible"),
        ("[http://localhost:11434/v1]: ", "localhost"),
        ("begins with http", "http://gpu-1:8000/v1"),
        ("Which model", "qwen3-32b"),
        ("System prompt", "Say: “yes”."),
        ("access key", "y"),
    )
    assert code == 0, said
    settings = written(tmp_path)
    assert settings.providers["compatible"].base_url == "http://gpu-1:8000/v1"
    assert (settings.chat.provider, settings.chat.model) == ("compatible", "qwen3-32b")
    assert settings.chat.system_prompt == "Say: “yes”."
    assert len(settings.auth.access_key) == 1


def test_questions_that_are_answered_with_enter_or_not_at_all(tmp_path: Path) -> None:
    enough = (("[openai]: ", ""), ("[gpt-4o]: ", ""), ("System prompt", ""))
    code, said = conversation(tmp_path, *enough, ("access key", "\x04"))
    assert code == 1 and "Traceback" not in said
    assert files(tmp_path) == []
    code, said = conversation(tmp_path, *enough, ("[y/N]: ", ""))
    assert code == 0, said
    settings = written(tmp_path)
    assert (settings.chat.provider, settings.chat.model, settings.chat.system_prompt) == ("openai", "gpt-4o", None)
    assert files(tmp_path) == ["switchboard.yaml"]


# ---- the text


@pytest.mark.parametrize("chosen", [True, False])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_may_be_chosen_from_is_right_too(tmp_path: Path, provider: str, chosen: bool) -> None:
    """Every line that is a setting behind a ``#`` does as it stands, all of them at once."""
    base_url = EXAMPLES.get(provider) or PROPOSED.get(provider)
    text = settings_text(Answers(provider=provider, chosen=chosen, base_url=base_url))
    key = tmp_path / "key"
    key.write_text("k\n")
    settings_lines = re.sub(r"(?m)^( *)#(?! |$)", r"\1", text)
    assert settings_lines.count("\n#") < text.count("\n#")
    settings_lines = re.sub(r"(_key_file: )[^\s}]+", rf"\g<1>{key}", settings_lines)
    (tmp_path / "all.yaml").write_text(settings_lines)
    settings, _ = load({}, {}, config=str(tmp_path / "all.yaml"))
    assert settings.chat.system_prompt == "You are a helpful assistant."
    assert len(settings.auth.access_key) == 1
    assert settings.limits.requests_per_minute == 60
    assert provider == "offline" or len(settings.providers[provider].api_key) == 1
    assert key_variable(provider) in text or provider == "offline"


@given(
    st.text(st.characters(exclude_categories=["Cs"])) | st.text("ab :#-\n\"'|>%@`{}[]\t\r\x85\u2028é😀", max_size=12)
)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    document = f"chat:\n  system_prompt: {scalar(text, 4)}\n  next: 1\n"
    assert yaml.safe_load(document) == {"chat": {"system_prompt": text, "next": 1}}
