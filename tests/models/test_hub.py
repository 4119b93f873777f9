"""Models on the hub: huggingface_hub talks to a stand-in of its HTTP API, in another process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import READ_ONLY, TOKEN, Hub, serving

from cl_sr.errors import InputError
from cl_sr.models.description import Description
from cl_sr.models.hub import HubPlace, is_on_hub

CONFIG = json.dumps(Description("sr3", {}, {}).to_json()).encode()
MODEL = {"config.json": CONFIG, "model.safetensors": b"weights", "README.md": b"words"}
Ask = Callable[..., tuple[int, str, str]]

SCRIPT = """
import sys
from pathlib import Path
from cl_sr.errors import InputError
from cl_sr.models.hub import HubPlace, check_free, fetch, publish

what, place, *rest = sys.argv[1:]
place = HubPlace.parse(place)
try:
    if what == "fetch":
        print(fetch(place))
    else:
        check_free(place, "overwrite" in rest)
        how = {"private": "private" in rest, "message": "words"}
        print(publish(Path(rest[0]), place, replaces=["base/*", "*.safetensors"], **how))
except InputError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
finally:
    assert "torch" not in sys.modules
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def ask(hub: Hub, tmp_path: Path) -> Ask:
    """Calls `fetch` or `publish` in a process whose cache is its own: code, what was printed."""

    def call(*arguments: object, **environment: str) -> tuple[int, str, str]:
        own = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_TOKEN": TOKEN,
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *map(str, arguments)],
            env=kept | own | environment,
            capture_output=True,
            text=True,
        )
        *_, last = ["", *done.stderr.strip().splitlines()]
        return done.returncode, done.stdout.strip(), last

    return call


def test_places() -> None:
    assert HubPlace.parse("hf:me/a-model_1.0") == HubPlace("me/a-model_1.0")
    assert HubPlace.parse("hf:me/m@refs/pr/1") == HubPlace("me/m", "refs/pr/1")
    assert str(HubPlace.parse("hf:me/m@v1.0")) == "hf:me/m@v1.0"
    assert is_on_hub(Path("hf:me/m"))
    assert not is_on_hub("runs/hf:me")
    for text in ("hf:", "hf:m", "hf:me/m/n", "hf:me/m@", "hf:me/", "hf:me/-m", "hf:me/a--b",
                 "hf:me/m.git", "hf:me/../m", "hf:me/m@v 1", "me/m", "hf://me/m"):  # fmt: skip
        with pytest.raises(InputError, match=r"write hf:owner/name"):
            HubPlace.parse(text)


def test_what_is_fetched_is_a_checkpoint_and_no_more(hub: Hub, ask: Ask) -> None:
    others = {"memory.safetensors": b"memory", "base/model.safetensors": b"base", "a.png": b"p"}
    repository = hub.add("me/model", MODEL | others)
    code, folder, told = ask("fetch", "hf:me/model")
    assert code == 0, told
    there = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    assert there == {
        "config.json": CONFIG,
        "model.safetensors": b"weights",
        "memory.safetensors": b"memory",
    }
    hub.asked.clear()
    assert ask("fetch", "hf:me/model")[1] == folder
    assert not any("resolve" in asked for asked in hub.asked)  # it is in the cache
    first = repository.branches["main"]
    repository.commit("main", MODEL | {"model.safetensors": b"later"})
    repository.branches["v1"] = first
    later = Path(ask("fetch", "hf:me/model")[1])
    assert (later / "model.safetensors").read_bytes() == b"later"
    assert ask("fetch", "hf:me/model@v1")[1] == folder
    assert ask("fetch", f"hf:me/model@{first}")[1] == folder


def test_without_a_network_the_cache_is_taken(hub: Hub, ask: Ask) -> None:
    hub.add("me/model", MODEL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
        for environment in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": nowhere}):
            code, _, told = ask("fetch", "hf:me/model", **environment)
            assert code == 2
            assert "the hub cannot be reached for hf:me/model" in told
            assert "copy an exported folder here" in told
        code, folder, _ = ask("fetch", "hf:me/model")
        assert code == 0
        for environment in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": nowhere}):
            assert ask("fetch", "hf:me/model", **environment) == (0, folder, "")
        code, _, told = ask("publish", "hf:me/model", folder, HF_ENDPOINT=nowhere)
        assert code == 2
        assert "export to a folder" in told


def test_what_cannot_be_fetched_is_told_in_a_line(hub: Hub, ask: Ask, tmp_path: Path) -> None:
    hub.add("me/model", MODEL)
    hub.add("me/private", MODEL, private=True)
    hub.add("me/gated", MODEL, gated=True)
    hub.add("me/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x"})
    hub.add("me/words", {"README.md": b"words"})
    hub.add("me/part", {"config.json": CONFIG})
    cases = {
        "hf:me/none": "no such repository that you may use",
        "hf:me/model@v9": "me/model has no such branch, tag or commit",
        "hf:me/gated": "is gated: ask for access on",
        "hf:me/bert": "is not a cl-sr checkpoint",
        "hf:me/words": "is no model of cl-sr: it has no config.json",
        "hf:me/part": "has no model.safetensors",
    }
    for place, message in cases.items():
        code, _, told = ask("fetch", place)
        assert (code, message in told) == (2, True), told
    code, _, told = ask("fetch", "hf:me/private", HF_TOKEN="")
    assert code == 2
    assert "if it is private, log in with `hf auth login`" in told
    assert not any("bert" in asked and "safetensors" in asked for asked in hub.asked)
    (tmp_path / "file").write_text("")
    code, _, told = ask("fetch", "hf:me/model", HF_HOME=str(tmp_path / "file"))
    assert code == 2
    hub.failing = 500
    code, _, told = ask("fetch", "hf:me/model", HF_HOME=str(tmp_path / "other"))
    assert (code, told) == (2, "the hub answers 500 for hf:me/model: out of order")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "made"
    (path / "base").mkdir(parents=True)
    for name, content in (MODEL | {"base/config.json": b"{}"}).items():
        (path / name).write_bytes(content)
    (path / "README.md").write_text("---\nlibrary_name: cl-sr\n---\nwords")
    return path


def test_what_is_published_is_fetched(hub: Hub, ask: Ask, folder: Path) -> None:
    code, address, told = ask("publish", "hf:me/new", folder, "private")
    assert code == 0, told
    assert address.startswith(f"{hub.url}/me/new/commit/")
    made = hub.repositories["me/new"]
    assert made.private
    files = made.commits[made.branches["main"]]
    assert {k: v for k, v in files.items() if k != ".gitattributes"} == {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert any("info/lfs" in asked for asked in hub.asked)  # weights are not in the commit itself
    got = Path(ask("fetch", "hf:me/new")[1])
    assert (got / "model.safetensors").read_bytes() == b"weights"
    code, _, told = ask("publish", "hf:me/new", folder)
    assert code == 2
    assert "has files: choose another name or revision, or add --overwrite" in told
    (folder / "base" / "config.json").unlink()
    assert ask("publish", "hf:me/new", folder, "overwrite")[0] == 0
    assert "base/config.json" not in made.commits[made.branches["main"]]
    assert len(made.commits) == 3  # what was there is in the history
    assert ask("publish", "hf:me/new@v2", folder, "overwrite")[0] == 0
    assert set(made.branches) == {"main", "v2"}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HF_TOKEN": ""}, "writing to the hub needs a token: log in with `hf auth login`"),
        ({"HF_TOKEN": READ_ONLY}, "the hub refuses hf:me/new (403): log in"),
    ],
)
def test_who_may_not_write_is_told(
    hub: Hub, ask: Ask, folder: Path, environment: dict[str, str], message: str
) -> None:
    code, _, told = ask("publish", "hf:me/new", folder, **environment)
    assert code == 2
    assert message in told
    assert not hub.repositories
