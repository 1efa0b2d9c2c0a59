"""The dashboard and the alerts: they parse, and ask for nothing that this server does not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from support.client import chat
from support.gateway import until
from support.talkers import before_realtime, talking
from switchboard.config.names import place
from switchboard.core.types import Outcome

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
#: What Prometheus adds to every series.
SCRAPED = {"job", "instance"}
_TEXT = re.compile(r'"[^"]*"')
_LABELS = re.compile(r"\b(?:by|on|group_left|group_right|ignoring)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-z_]\w*)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
_WORDS = {"and", "or", "unless", "by", "on", "group_left", "group_right", "ignoring", "bool"}


def dashboard() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((DEPLOY / "grafana" / "switchboard.json").read_text())
    return value


def panels() -> list[dict[str, Any]]:
    return [p for p in dashboard()["panels"] if p["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    assert len({g["name"] for g in groups}) == len(groups)
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[str]:
    """Every query of both files."""
    for panel in panels():
        yield from (t["expr"] for t in panel["targets"])
    yield from (a["expr"] for a in dashboard()["annotations"]["list"] if "expr" in a)
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    yield from (rule["expr"] for rule in rules())


def names(query: str) -> set[str]:
    """The metrics that a query names."""
    bare = re.sub(r"\[[^]]*\]", "", _LABELS.sub(" ", re.sub(r"\{[^}]*\}", " ", _TEXT.sub('""', query))))
    if bare.startswith("label_values("):
        bare = bare.partition(",")[0]
    found = re.findall(r"(?<![\w$.])([a-zA-Z_]\w*)\b(?!\s*\()", bare)
    return set(found) - _WORDS


async def told(folder: Path) -> dict[str, set[str]]:
    """The labels of every series' name that a server tells after it has answered, failed and refused, and conversed with somebody
    who said what cannot be translated."""
    settings: dict[str, Any] = {
        "chat": {"provider": "offline"},
        "realtime": {"provider": "openai", "client_fields": ["temperature"]},
    }
    async with before_realtime(data=folder, **settings) as (g, _):
        await g.ask("/api/chat", chat("a b"))
        await g.ask("/api/chat", chat(model="error-500"))
        await g.ask("/api/chat", {"messages": 1})
        async with talking(g, "/api/realtime") as client:
            await client.say("session.update", session={"temperature": 0.8})
            await client.hear("session.updated")
        await until(lambda: g.app.talks.lost)
        text = (await g.ask("/metrics")).text
    out: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            out.setdefault(sample.name, set()).update(sample.labels)
    return out


@pytest.mark.anyio
async def test_every_query_asks_for_what_is_told(tmp_path: Path) -> None:
    known = await told(tmp_path) | {"up": set()}
    asked = set()
    for query in queries():
        found = names(query)
        assert found and found <= known.keys(), f"{found - known.keys()}: {query}"
        asked |= found
        labels = set().union(*(known[name] for name in found)) | SCRAPED
        for clause in _LABELS.findall(query):
            assert {x.strip() for x in clause.split(",") if x.strip()} <= labels, query
        for name, matchers in _SELECTOR.findall(query):
            for label, value in _MATCHER.findall(matchers):
                assert label in known[name] | SCRAPED, f"{name} has no label {label}: {query}"
                if label == "outcome":
                    assert set(value.split("|")) <= set(Outcome), query
    # all of ours is shown somewhere
    ours = {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in known if "board_" in name
    }
    shown = {name.removesuffix("_bucket").removesuffix("_count") for name in asked}
    assert ours <= shown


def test_queries_are_whole() -> None:
    for query in queries():
        bare = _TEXT.sub("", query)
        for opening, closing in ("()", "{}", "[]"):
            assert bare.count(opening) == bare.count(closing), query
        # a counter is of use only by how it changes
        for name in re.findall(r"\b\w+_(?:total|bucket)\b", bare):
            assert re.search(rf"(?:rate|increase)\({name}\{{[^}}]*\}}\[", bare) or "label_values" in bare, query


def test_names_are_found() -> None:
    query = 'sum by (job, le) (rate(a_total{job="x",b!~"c|d"}[$__rate_interval])) / on (job) (e or vector(0)) > 1e3'
    assert names(query) == {"a_total", "e"}


# ---- the dashboard


def test_the_dashboard_works_with_any_prometheus() -> None:
    board = dashboard()
    assert board["schemaVersion"] >= 39 and board["uid"] == "switchboard" and board["id"] is None
    variables = {v["name"] for v in board["templating"]["list"]}
    assert board["templating"]["list"][0]["type"] == "datasource"
    for holder in [*panels(), *(t for p in panels() for t in p["targets"])]:
        assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for query in queries():
        assert set(re.findall(r"\$\{?(\w+)", query)) - {"__rate_interval", "__interval"} <= variables, query
    for panel in panels():
        assert panel["title"] and panel["description"]
        for query in (t["expr"] for t in panel["targets"]):
            # other programs tell of their process too: a query without the job would add them up
            assert query.count("{") == query.count('{job=~"$job"'), query


def test_panels_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    numbers = [p["id"] for p in dashboard()["panels"]]
    assert len(set(numbers)) == len(numbers)
    for p in dashboard()["panels"]:
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert g["x"] + g["w"] <= 24 and not cells & taken, p["title"]
        taken |= cells


# ---- the alerts


def test_alerts_say_what_it_means_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert re.fullmatch(r"Switchboard[A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+[mh]", rule["for"]), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert len(rule["annotations"]["description"]) > 100
        assert 'job="switchboard"' in rule["expr"]
        # an alert has the labels that its query keeps
        kept = {x.strip() for clause in _LABELS.findall(rule["expr"]) for x in clause.split(",")}
        for label in re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())):
            assert label in (kept or SCRAPED), rule["alert"]


def test_settings_that_alerts_name_are_there() -> None:
    text = " ".join(" ".join(rule["annotations"].values()) for rule in rules())
    found = re.findall(r"\b(limits|timeouts|shutdown|chat|auth|log)\.(\w+)", text)
    assert len(found) > 5
    for path in found:
        assert place(path) is not None, path


def test_the_page_names_files_that_are_there() -> None:
    page = (DEPLOY / "README.md").read_text()
    for name in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (DEPLOY / name).exists(), name
