"""``switchboard init``: a settings file from a few questions, or from flags and defaults where nobody can be asked."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import typer
from msgspec import Struct
from pydantic import ValidationError

from switchboard.cli.init_text import EXAMPLES, PROPOSED, Answers, key_variable, settings_text
from switchboard.config.load import FILES, SettingsError, load
from switchboard.config.names import variable
from switchboard.config.tree import ProviderSettings
from switchboard.net.address import is_loopback
from switchboard.providers import Kind, kinds

_CONFIG: Final = "SWITCHBOARD_CONFIG"


class Wanted(Struct, kw_only=True, frozen=True):
    """What the flags ask for; None is for what they leave open."""

    output: str | None = None
    provider: str | None = None
    base_url: str | None = None
    model: str | None = None
    system: str | None = None
    access_key: bool | None = None
    force: bool = False
    ask: bool = True


def init(wanted: Wanted, flags: Mapping[tuple[str, ...], Any], config: str | None) -> None:
    """Write the file. Exits with status 2 if what is asked for cannot be, 1 if a file cannot be written."""
    file = Path(wanted.output or config or os.environ.get(_CONFIG) or FILES[0])
    _look_at(file, wanted.force)
    can_ask = wanted.ask and sys.stdin.isatty() and sys.stdout.isatty()
    answers, with_key = _answers(wanted, flags, can_ask)
    key = _access_key(file) if with_key else None
    try:
        if key is not None:
            answers = _with(answers, key_file=str(key.path))
        _write(file, answers, force=wanted.force)
    except BaseException:
        if key is not None and key.is_new:
            key.path.unlink()
        raise
    _tell(file, answers, key)


def _fail(text: str, status: int) -> NoReturn:
    print(f"switchboard: {text}", file=sys.stderr)
    raise SystemExit(status)


def _look_at(file: Path, force: bool) -> None:
    """Refuse before anything is asked what could not be written, or not be read again."""
    if file.suffix not in (".yaml", ".yml"):
        _fail(f"{file}: the file is written as YAML; choose a name that ends in .yaml", 2)
    if not file.parent.is_dir():
        _fail(f"{file}: there is no folder {file.parent}; make it first", 1)
    if os.path.lexists(file) and not force:
        _fail(f"{file} is there already, and was left as it is; --force replaces it, --output names another", 1)
    if file.name in FILES:
        others = [name for name in FILES if name != file.name and (file.parent / name).is_file()]
        if others:
            _fail(
                f"{file.parent / others[0]} is there already, and a second settings file would stop the start; "
                "remove it, or choose another name with --output",
                1,
            )


# ---- the answers


def _answers(w: Wanted, flags: Mapping[tuple[str, ...], Any], ask: bool) -> tuple[Answers, bool]:
    """What the file is to say, and whether there is to be an access key."""
    provider = w.provider or (_ask_provider() if ask else "openai")
    if provider not in _chatting():
        _fail(f"--provider: there is no provider '{provider}' that chats; there are {', '.join(_chatting())}", 2)
    kind = kinds()[provider]
    if not kind.network and w.base_url is not None:
        _fail("--base-url: the offline provider needs no network and has no base URL", 2)
    base_url = w.base_url or _base_url(kind, ask)
    model, system, access_key = w.model, w.system, w.access_key
    if model is None and ask:
        model = _ask_model(kind)
    if system is None and ask:
        system = typer.prompt("System prompt, put before every conversation (empty: none)", "", show_default=False)
    host, port = flags.get(("host",)), flags.get(("port",))
    beyond = host is not None and not is_loopback(host)
    if access_key is None:
        access_key = typer.confirm("Make an access key, which every caller has to send?", beyond) if ask else beyond
    _encodable({"--base-url": base_url, "--model": model, "--system": system})
    answers = Answers(
        provider=provider,
        chosen=ask or w.provider is not None,
        base_url=base_url,
        model=model or None,
        system=system or None,
        host=host,
        port=port,
    )
    return answers, access_key


def _chatting() -> list[str]:
    return [name for name, kind in kinds().items() if kind.chats]


def _ask_provider() -> str:
    def known(text: str) -> str:
        if text not in _chatting():
            raise typer.BadParameter(f"it is one of {', '.join(_chatting())}")
        return text

    answer: str = typer.prompt(f"Which provider answers? ({', '.join(_chatting())})", "openai", value_proc=known)
    return answer


def _base_url(kind: Kind, ask: bool) -> str | None:
    """Where the provider is, unless it is where all the world finds it."""
    if kind.base_url or not kind.network:
        return None
    proposal = os.environ.get(variable(("providers", kind.type, "base_url"))) or PROPOSED.get(kind.type)
    example = EXAMPLES.get(kind.type)
    if ask:
        hint = f", for example {example}" if example is not None else ""
        answer: str = typer.prompt(f"Its base URL{hint}", proposal, value_proc=_usable)
        return answer
    if proposal is None:
        _fail(f"--base-url: {kind.title or kind.type} needs one" + (f", for example {example}" if example else ""), 2)
    return proposal


def _usable(base_url: str) -> str:
    try:
        ProviderSettings.model_validate({"base_url": base_url})
    except ValidationError as e:
        raise typer.BadParameter(str(e.errors()[0]["msg"]).removeprefix("Value error, ")) from None
    return base_url


def _ask_model(kind: Kind) -> str:
    if kind.model:
        answer: str = typer.prompt("Which model?", kind.model)
    else:
        what = "deployment" if kind.type == "azure" else "model"
        answer = typer.prompt(f"Which {what}? (empty: each request names its own)", "", show_default=False)
    return answer


def _encodable(texts: Mapping[str, str | None]) -> None:
    for flag, text in texts.items():
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            _fail(f"{flag}: it is not UTF-8", 2)


def _with(answers: Answers, *, key_file: str) -> Answers:
    values = {name: getattr(answers, name) for name in Answers.__struct_fields__}
    return Answers(**(values | {"key_file": key_file}))


# ---- the files


class _Key(Struct, frozen=True):
    """The file with the access key."""

    path: Path
    is_new: bool


def _access_key(file: Path) -> _Key:
    """The file with the access key, beside the settings file. One that is there is kept: clients may have its key."""
    path = file.with_name(f"{file.stem}.access-key")
    # the name of a secret's file counts from where the server is started, which is here only if the settings are here
    if path.parent.resolve() != Path.cwd():
        path = path.absolute()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w") as out:
            out.write(f"{secrets.token_hex(32)}\n")
    except FileExistsError:
        return _Key(path, False)
    except OSError as e:
        _fail(f"{path}: the access key cannot be written: {e.strerror}", 1)
    return _Key(path, True)


def _write(file: Path, answers: Answers, *, force: bool) -> None:
    """Write the settings file, whole and found right, or leave everything as it is."""
    file = file.resolve() if force else file
    draft = file.with_name(f".{file.stem}.{os.getpid()}.yaml")
    try:
        draft.write_text(settings_text(answers), encoding="utf-8")
        _check(draft, file)
        if force and file.exists():
            shutil.copymode(file, draft)
        elif not force:
            file.touch(exist_ok=False)  # the name is ours now, whoever else wants it
        os.replace(draft, file)
    except FileExistsError:
        _fail(f"{file} has been made by somebody else meanwhile, and was left as it is", 1)
    except OSError as e:
        _fail(f"{file}: the settings file cannot be written: {e.strerror}", 1)
    finally:
        draft.unlink(missing_ok=True)


def _check(draft: Path, file: Path) -> None:
    try:
        load({}, {}, config=str(draft.absolute()))
    except SettingsError as e:
        print("switchboard: these settings could not be used; nothing was written:", file=sys.stderr)
        for complaint in e.complaints:
            print(f"  - {complaint.replace(draft.name, file.name)}", file=sys.stderr)
        raise SystemExit(2) from None


def _tell(file: Path, answers: Answers, key: _Key | None) -> None:
    kind = kinds()[answers.provider]
    model = f", model {answers.model}" if answers.model is not None else ""
    print(f"Wrote {file} (provider {answers.provider}{model}).")
    if key is not None and key.is_new:
        print(f"Wrote {key.path}: the access key, which callers send. Keep it out of version control.")
    elif key is not None:
        print(f"Kept {key.path}: the access key that was there.")
        if key.path.stat().st_mode & 0o077:
            print(f"  Others on this machine may read it: chmod 600 {key.path}")
    found = file.name in FILES and file.parent.resolve() == Path.cwd() and not os.environ.get(_CONFIG)
    named = "" if found or os.environ.get(_CONFIG) == str(file) else f" --config {shlex.quote(str(file))}"
    key_name = key_variable(answers.provider)
    step = f"set {key_name} to your key, then " if kind.key_needed and not os.environ.get(key_name) else ""
    print(f"Next: {step}switchboard serve{named}")
