"""Reading the settings: flags over the environment over the file over the defaults, each value with its place.

Nothing is believed before everything was looked at: `load` raises one `SettingsError` that lists every complaint.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import ValidationError

from switchboard.config.check import check, check_listening
from switchboard.config.names import KNOWN, OTHERS, PREFIX, Path, nearest, place, variable
from switchboard.config.tree import Settings, fields_of

#: Looked for in the working directory where no file is named.
FILES: Final = ("switchboard.yaml", "switchboard.yml", "switchboard.toml")
_LARGEST: Final = 1024 * 1024


class SettingsError(Exception):
    """The settings cannot be used. `complaints` are lines, each with the place at fault and what to do."""

    def __init__(self, complaints: list[str]) -> None:
        self.complaints = complaints
        super().__init__("\n".join(complaints))


Stamp = tuple[int, int, int]


def stamp(path: FilePath) -> Stamp | None:
    """What tells that a file is another one, or has other content; None where there is none."""
    try:
        s = path.stat()
    except OSError:
        return None
    return s.st_ino, s.st_mtime_ns, s.st_size


class Sources:
    """Values by path, each with where it came from. `file` is the settings file, `secret_files` those that hold
    secrets, each as it was when it was read."""

    def __init__(self) -> None:
        self.values: dict[Path, Any] = {}
        self.origins: dict[Path, str] = {}
        self.complaints: list[str] = []
        self.file: str | None = None
        self.secret_files: dict[FilePath, Stamp | None] = {}

    def set(self, path: Path, value: Any, origin: str) -> None:
        """`value` stands at `path` from now on, whatever stood there or below."""
        for known in [p for p in self.values if p[: len(path)] == path]:
            del self.values[known]
        self.values[path] = value
        self.origins[path] = origin

    def origin(self, path: Path) -> str:
        """Where the value at `path`, or around it, came from."""
        for n in range(len(path), 0, -1):
            if path[:n] in self.origins and path[:n] in self.values:
                return self.origins[path[:n]]
        below = [o for p, o in self.origins.items() if p[: len(path)] == path]
        return below[0] if below else f"{'.'.join(path)}"

    def tree(self) -> dict[str, Any]:
        """The values as nested dictionaries."""
        root: dict[str, Any] = {}
        for path, value in self.values.items():
            here = root
            for key in path[:-1]:
                below = here.setdefault(key, {})
                if not isinstance(below, dict):
                    break  # what stands here is no section, and that is what will be told
                here = below
            else:
                here[path[-1]] = dict(value) if isinstance(value, dict) else value
        return root


def load(
    flags: Mapping[Path, Any],
    environment: Mapping[str, str],
    *,
    config: str | None = None,
    directory: FilePath | None = None,
) -> tuple[Settings, Sources]:
    """Read all sources. `flags` are values by path; `config` is the settings file that a flag names.

    Raises `SettingsError`.
    """
    sources = Sources()
    _read_file(sources, config or environment.get("SWITCHBOARD_CONFIG") or None, directory or FilePath.cwd())
    _read_environment(sources, environment)
    for path, value in flags.items():
        sources.set(path, value, f"--{path[-1].replace('_', '-')}")
    settings = _validate(sources)
    if settings is not None:
        _see_functions(FilePath(sources.file).parent if sources.file is not None else directory or FilePath.cwd())
        sources.complaints += check(settings, sources.origin)
    if sources.complaints or settings is None:
        raise SettingsError(list(dict.fromkeys(sources.complaints)))
    return settings, sources


def load_anew(
    running: Settings,
    file: str | None,
    flags: Mapping[Path, Any],
    environment: Mapping[str, str],
    *,
    config: str | None = None,
) -> tuple[Settings, Sources]:
    """The same for a server that is `running`, and had the settings file `file`: it goes on listening where it does, so what is new
    has to go with that; and that a file is gone for a moment does not mean that nothing in it is wanted any more.

    Raises `SettingsError`.
    """
    settings, sources = load(flags, environment, config=config)
    if file is not None and sources.file is None:
        raise SettingsError([f"{file}: the settings file is gone; an empty one stands for the defaults"])
    complaints = check_listening(settings.model_copy(update={"host": running.host, "tls": running.tls}), sources.origin)
    if complaints:
        raise SettingsError(complaints)
    return settings, sources


def _see_functions(folder: FilePath) -> None:
    """Let Python find the functions that settings name (auth.validate) beside the settings file."""
    path = str(folder.absolute())
    if path not in sys.path:
        sys.path.append(path)


def _validate(sources: Sources) -> Settings | None:
    """The settings; what is wrong with them is noted, and they are read once more without it, so that what is right by
    itself is looked at all the same."""
    try:
        return Settings.model_validate(sources.tree())
    except ValidationError as e:
        for error in e.errors(include_url=False):
            sources.complaints.append(_complaint(sources, error))
            path = tuple(str(x) for x in error["loc"])
            for n in range(len(path), 0, -1):
                if path[:n] in sources.values:
                    del sources.values[path[:n]]
                    break
    try:
        return Settings.model_validate(sources.tree())
    except ValidationError:
        return None


# ---- the file


def _read_file(sources: Sources, named: str | None, directory: FilePath) -> None:
    if named is not None:
        file = FilePath(named)
        if not file.is_absolute():
            file = directory / file
    else:
        found = [directory / name for name in FILES if (directory / name).is_file()]
        if not found:
            return
        file = found[0]
        if len(found) > 1:
            others = ", ".join(f.name for f in found[1:])
            sources.complaints.append(f"{file.name} and {others}: there are several settings files; keep one")
    sources.file = str(file)
    try:
        value = _parse(file)
    except OSError as e:
        sources.complaints.append(f"{file}: the settings file cannot be read: {e.strerror}")
        return
    except ValueError as e:
        sources.complaints.append(f"{file}: {e}")
        return
    if value is None:
        return
    if not isinstance(value, dict):
        sources.complaints.append(f"{file}: the settings are a table of keys, not {_kind(value)}")
        return
    _flatten(sources, (), value, file.name)


def _parse(file: FilePath) -> Any:
    """The file's content. Raises `OSError`, and `ValueError` with a text that names line and column."""
    data = file.read_bytes()
    if len(data) > _LARGEST:
        raise ValueError("the settings file is larger than 1 MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("the settings file is not UTF-8") from None
    if file.suffix == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as e:
            raise ValueError(f"not valid TOML: {e}") from None
    return _parse_yaml(text)


def _parse_yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Dates stay text: no setting is one, and some models' names look like one."""

        yaml_implicit_resolvers = {  # noqa: RUF012  as the class above has it
            first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        return yaml.load(text, Loader)  # noqa: S506  a safe loader
    except yaml.reader.ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        raise ValueError(f"line {line}: not valid YAML: it holds a character that YAML does not allow") from None
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        # what the parser quotes may be a secret
        problem = re.sub(r"'[^']*'", "…", e.problem or "")
        raise ValueError(f"{where}not valid YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueError("not valid YAML") from None


def _flatten(sources: Sources, path: Path, value: dict[Any, Any], file: str) -> None:
    for key, below in value.items():
        here = (*path, str(key))
        where = f"{file}: {'.'.join(here)}"
        found = place(here)
        stem = _stem(here)
        if stem is not None:
            # as the settings file is: whoever starts the server elsewhere means the same
            near = FilePath(sources.file or "").parent / below if isinstance(below, str) else below
            _read_secret(sources, stem, near, where)
        elif found is None:
            sources.complaints.append(f"{where}: {_unknown(here)}")
        elif (found.model is not None or found.table is not None) and isinstance(below, dict) and below:
            _flatten(sources, here, below, file)
        elif found.table is not None and below is None:
            continue  # a table without a row
        elif found.model is not None and below is None:
            sources.set(here, {}, where)  # a section that is there and empty
        else:
            sources.set(here, below, where)


def _stem(path: Path) -> Path | None:
    """The place of the secret that is to be read from a file, if that is what the key at `path` asks for."""
    if not path[-1].endswith("_file"):
        return None
    stem = (*path[:-1], path[-1].removesuffix("_file"))
    secret, parent = place(stem), place(path[:-1])
    # in a table of secrets (headers, say) any key is a place; none of them ends so by itself
    by_itself = place(path) is not None and not (parent is not None and parent.table is not None)
    return stem if secret is not None and secret.is_secret and not by_itself else None


def _unknown(path: Path) -> str:
    known, keys = nearest(path)
    wrong = path[len(known)]
    close = difflib.get_close_matches(wrong, keys, 1, 0.6)
    if close:
        return f"there is no such key; did you mean {'.'.join((*known, close[0]))}?"
    return f"there is no such key; here may stand {', '.join(keys)}" if keys else "there is no such key"


# ---- the environment


def _read_environment(sources: Sources, environment: Mapping[str, str]) -> None:
    for name, path in KNOWN.items():
        _variable(sources, name, path, environment)
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in OTHERS:
            continue
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        stem = _stem(path)
        if stem is not None:
            _variable(sources, name.removesuffix("_FILE"), stem, environment)
            continue
        found = place(path)
        if found is None or found.model is not None:
            sources.complaints.append(f"{name}: {_unknown_variable(name)}")
        else:
            _variable(sources, name, path, environment)


def _unknown_variable(name: str) -> str:
    names = [variable(p) for p in _leaves((), Settings)] + list(KNOWN)
    ours = [PREFIX + "__".join(p).upper() for p in _leaves((), Settings)]
    close = difflib.get_close_matches(name, [*ours, *names], 1, 0.75)
    return "there is no such setting" + (f"; did you mean {close[0]}?" if close else "")


def _leaves(path: Path, model: Any) -> list[Path]:
    out: list[Path] = []
    for key in fields_of(model):
        here = place((*path, key))
        if here is not None and here.model is not None:
            out += _leaves((*path, key), here.model)
        else:
            out.append((*path, key))
    return out


def _variable(sources: Sources, name: str, path: Path, environment: Mapping[str, str]) -> None:
    found = place(path)
    assert found is not None
    file = environment.get(f"{name}_FILE") if found.is_secret else None
    text = environment.get(name)
    if file:
        if text:
            sources.complaints.append(f"{name} and {name}_FILE are both set; keep one")
        _read_secret(sources, path, file, f"{name}_FILE")
    elif text:
        # a secret may hold commas: several are a JSON list
        sources.set(path, _value(text, found.is_list, found.table is not None, found.is_secret), name)


def _value(text: str, is_list: bool, is_table: bool, is_secret: bool) -> Any:
    """A variable's text as the type that stands in its place: lists are JSON or, but for secrets, separated by commas."""
    if (is_list and text.lstrip().startswith("[")) or (is_table and text.lstrip().startswith("{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    if is_list and not is_secret:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _read_secret(sources: Sources, path: Path, file: Any, where: str) -> None:
    if not isinstance(file, str | FilePath):
        sources.complaints.append(f"{where}: a file's name is expected, not {_kind(file)}")
        return
    path_of = FilePath(file).absolute()
    sources.secret_files[path_of] = stamp(path_of)  # before it is read: what is written meanwhile will be seen
    try:
        text = FilePath(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "not a text file"
        sources.complaints.append(f"{where}: the file cannot be read: {reason}")
        return
    if not text:
        sources.complaints.append(f"{where}: the file is empty")
        return
    found = place(path)
    sources.set(path, text.split() if found is not None and found.is_list else text, where)


# ---- complaints


def _complaint(sources: Sources, error: Any) -> str:
    path = tuple(str(x) for x in error["loc"] if not str(x).startswith(("function-", "list[", "[key]")))
    where = sources.origin(path)
    shown = ".".join(path)
    named = "" if shown in where else f" ({shown})"
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        text = _unknown(path)
    elif error["type"] == "literal_error":
        text = f"it must be {error['ctx']['expected']}"
    elif error["type"] in ("string_type", "list_type", "dict_type", "model_type", "model_attributes_type"):
        expected = {"string_type": "text", "list_type": "a list"}.get(error["type"], "a table of keys")
        text = f"{expected} is expected"
    return f"{where}{named}: {text[0].lower()}{text[1:]}"


def _kind(value: Any) -> str:
    kinds = {str: "text", int: "a number", float: "a number", bool: "a yes or no", list: "a list", dict: "a table"}
    return kinds.get(type(value), "nothing" if value is None else type(value).__name__)
