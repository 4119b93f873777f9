"""Hostile input of every kind: one clear line or a right answer, and nothing else happens.

A few hundred cases by default; `CL_SR_FUZZ=2500 pytest tests/test_fuzz.py` runs 10,000 and more.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from running import run_loaded
from strategy_cases import TOGETHER

from cl_sr.cli.main import main
from cl_sr.config import keys, read_preset, resolve
from cl_sr.data.domains import CELEBA
from cl_sr.data.prepare import load_domain
from cl_sr.diffusion import NoiseSchedule
from cl_sr.errors import InputError
from cl_sr.models import Model, SR3UNet, load_prior, load_sr3, save_model
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.runs.loading import load
from cl_sr.runs.plan import check
from cl_sr.strategies import shipped_strategies, spell
from cl_sr.sweeps import read_sweep

CASES = int(os.environ.get("CL_SR_FUZZ", 60))
fuzz = settings(
    max_examples=CASES, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
                           HealthCheck.data_too_large],
)  # fmt: skip

hostile = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=12),
    st.sampled_from(["", "NaN", ".inf", "-.inf", "1e999", "!!python/object/apply:os.system [x]",
                     "&a [*a, *a]", "*a", "../../etc", "/dev/null", "\x00", "[" * 400, "{a: " * 90,
                     "-1", "0", "0.5", "yes", "1_000", "0x10", "[1, 2]", "{a: 1}", "null"]),
    st.lists(st.integers(-3, 9), max_size=4), st.dictionaries(st.text(max_size=4), st.integers()),
)  # fmt: skip


def listing(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@contextmanager
def nothing_new(folder: Path) -> Iterator[None]:
    before = listing(folder)
    yield
    assert listing(folder) == before


def one_line_or_right(arguments: list[str]) -> None:
    """The command line answers, or refuses with one line; never with a traceback."""
    result = CliRunner().invoke(main, arguments, prog_name="cl-sr")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 2)
    assert "Traceback" not in result.output
    if result.exit_code == 2:
        lines = result.stderr.strip().splitlines()
        assert lines[-1].startswith("Error: ") or lines[0].startswith("Usage: ")


@contextmanager
def one_line() -> Iterator[None]:
    """What is inside may refuse, in one line."""
    try:
        yield
    except InputError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.delenv("CL_SR_DATA", raising=False)
    return place


@fuzz
@given(
    st.dictionaries(st.sampled_from(["title", "preset", "run", "grid", "baseline", "x"]), hostile),
    st.dictionaries(st.sampled_from([key for key, _ in keys()]), st.lists(hostile, max_size=3)),
)
def test_sweeps(tmp_path: Path, values: dict[str, Any], grid: dict[str, list[Any]]) -> None:
    path = tmp_path / "sweep.yaml"
    try:
        path.write_text(yaml.safe_dump(values | {"grid": values.get("grid") or grid}))
    except UnicodeEncodeError:
        return
    with one_line():
        sweep = read_sweep(str(path))
        assert len({member.name for member in sweep.members}) == len(sweep.members) > 0
        assert all("/" not in member.name for member in sweep.members)


@fuzz
@given(st.lists(st.tuples(st.sampled_from([key for key, _ in keys()]), hostile), max_size=3))
def test_configurations(here: Path, tiny: list[str], changes: list[tuple[str, Any]]) -> None:
    values = resolve(read_preset("demo"), [*tiny, "data.standin_images=8"]).model_dump(mode="json")
    for key, value in changes:
        section: Any = values
        *parents, last = key.split(".")
        for parent in parents:
            section = section.setdefault(parent, {}) if isinstance(section, dict) else {}
        if isinstance(section, dict):
            # Numbers that are in order, but draw millions of images, are not what this is about.
            big = isinstance(value, int) and value > 2000
            section[last] = value if not big or "standin" not in key else 8
    text = yaml.safe_dump(values)
    for _, value in changes:
        if isinstance(value, str) and value[:1] in "!&*[{":
            text = text.replace(yaml.safe_dump(value).split("\n")[0], value)
    (here / "c.yaml").write_text(text, encoding="utf-8", errors="replace")
    with nothing_new(here):
        one_line_or_right(["run", "--config", "c.yaml", "--dry-run"])


taken = {field.name for cls in shipped_strategies().values() for field in fields(cls)}
options = st.sampled_from(sorted(taken | {"x", ""}))
values = st.sampled_from(
    ["0", "-1", "nan", "inf", "1e999", "0.5", "1", "[", "(", "", "reservoir", "new", "x,y", "a+b",
     "ReplayPlugin", "mem_size=3", "99"]
)  # fmt: skip
strategies = st.builds(
    lambda name, given: f"{name}:{','.join(f'{key}={value}' for key, value in given)}",
    st.sampled_from([*sorted(shipped_strategies()), "./x.py", "nothing", ""]),
    st.lists(st.tuples(options, values), max_size=2),
)


@fuzz
@given(st.lists(strategies, min_size=1, max_size=3))
def test_strategies(here: Path, tiny: list[str], names: list[str]) -> None:
    given_ = [argument for name in names for argument in ("--strategy", name)]
    with nothing_new(here):
        one_line_or_right(["run", "--dry-run", *given_, *tiny, "data.standin_images=8"])


@fuzz
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_configuration_files_of_anything(here: Path, content: str | bytes) -> None:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    (here / "c.yaml").write_bytes(raw)
    with nothing_new(here):
        one_line_or_right(["run", "--config", "c.yaml", "--dry-run", "data.standin_images=8"])


words = st.sampled_from(
    ["run", "report", "list", "runs", "zero-shot", "--stream", "--preset", "--config", "--data",
     "--strategy", "--init", "--seed", "--device", "--out", "--overwrite", "--resume", "auto", "-i",
     "--prior", "--scale", "-o", "--steps", "celeba-anime", "demo", "finetune", "ddnm:prior=x",
     "timestep-window:stop=0", "./x.py", "train.lr=nan", "eval.images=-1", ".", "..", "-",
     "--", "keys", "strategies", "cpu", "3", "-1", "1e9", "[b]", "data.folders.x=y", "=", "a=b=c"],
)  # fmt: skip


@fuzz
@given(st.lists(words | st.text(max_size=8).filter(lambda t: "\x00" not in t), max_size=6))
def test_command_lines(here: Path, arguments: list[str]) -> None:
    while arguments[:1] == ["--"]:  # what comes after may be a command all the same
        arguments = arguments[1:]
    if "run" in arguments[:1]:
        dry = ["--dry-run", "data.standin_images=8", "data.size=16"]
        arguments = ["run", *dry, *arguments[1:]]
    with nothing_new(here):
        one_line_or_right(arguments)


def changed(draw: Any, whole: bytes) -> bytes:
    """Bytes cut, overwritten, inserted or repeated somewhere."""
    place = draw(st.integers(0, max(len(whole) - 1, 0)))
    new = draw(st.binary(max_size=40))
    how = draw(st.sampled_from(["cut", "over", "insert", "repeat", "replace"]))
    return {
        "cut": whole[:place],
        "over": whole[:place] + new + whole[place + len(new) :],
        "insert": whole[:place] + new + whole[place:],
        "repeat": whole[:place] + whole[place:] * 2,
        "replace": new,
    }[how]


@fuzz
@given(st.data())
def test_images(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP"]))
    mode = data.draw(st.sampled_from(["RGB", "L", "RGBA", "P", "1"]))
    image = Image.linear_gradient("L").resize((20, 18)).convert("RGB").convert(mode)
    buffer = io.BytesIO()
    (image.convert("RGB") if kind == "JPEG" else image).save(buffer, kind)
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    for number in range(5):
        Image.new("RGB", (18, 18), (number, 40, 80)).save(folder / f"{number}.png")
    suffix = data.draw(st.sampled_from(["png", "jpg", "webp", "bmp"]))
    target = folder / f"hostile\n.{suffix}"
    target.write_bytes(changed(data.draw, buffer.getvalue()))
    with one_line():
        found = load_domain(CELEBA, folder, size=16, scale=4, standin_images=8, split_seed=0)
        assert len(found.train) + len(found.test_files) + len(found.unreadable) == 6
    target.unlink()


class Executed:
    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


@pytest.fixture
def weights(here: Path) -> dict[str, bytes]:
    torch.manual_seed(0)
    small = {"inner_channel": 8, "norm_groups": 4, "channel_mults": [1], "res_blocks": 1}
    net = SR3UNet(**small, image_size=16)  # type: ignore[arg-type]
    save_model(here / "own", Model(net, NoiseSchedule.linear(10), scale=4))
    torch.save(net.state_dict(), here / "w.pth")
    torch.save(DDPMUNet(32, 32, (1,), 1, ()).state_dict(), here / "w.ckpt")
    (here / "p.pth").write_bytes(pickle.dumps({"downs.0.weight": Executed()}))
    names = ["own/model.safetensors", "own/config.json", "w.pth", "w.ckpt", "p.pth"]
    return {name: (here / name).read_bytes() for name in names}


@fuzz
@given(st.data())
def test_weights(here: Path, weights: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(weights)))
    file = here / name
    file.write_bytes(changed(data.draw, weights[name]))
    path = here / "own" if name.startswith("own") else file
    with nothing_new(here):
        for load in (load_sr3, load_prior):
            with one_line():
                load(path)
    file.write_bytes(weights[name])


json_values = st.one_of(
    hostile, st.just(10**400), st.just(float("nan")), st.just("../../x"), st.just([[[]]] * 9)
)


@pytest.mark.run
@settings(fuzz, max_examples=max(20, CASES // 20))
@given(st.data())
def test_states_of_runs(here: Path, tiny: list[str], data: st.DataObject) -> None:
    """A checkpoint that anyone may have changed: refused in one line, passed over, or right."""
    config = resolve(
        read_preset("demo"),
        [
            *tiny,
            "checkpoint.every=1",
            "data.standin_images=8",
            "eval.images=1",
            f"strategy={data.draw(st.sampled_from(['finetune', 'lora:rank=2', *TOGETHER]))}",
        ],
    )
    whole = here / str(zlib.crc32(spell(config.strategy).encode()))
    if not whole.exists():
        run_loaded(whole, load(check(config)))
    name = data.draw(
        st.sampled_from(["training.json", "training.safetensors", "model.safetensors"])
    )
    file = whole / "checkpoints" / "iteration-000006" / name
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    if name == "training.json" and data.draw(st.booleans()):
        values = json.loads(before[file])
        key = data.draw(st.sampled_from(sorted(values)))
        values[key] = data.draw(json_values)
        file.write_text(json.dumps(values))
    else:
        file.write_bytes(changed(data.draw, before[file]))
    # The weights after the last domain would be newer than the changed ones.
    shutil.rmtree(whole / "checkpoints" / "animef")
    outside = listing(here) - listing(whole)
    try:
        with one_line():
            run_loaded(whole, load(check(config)), resume=True)
        assert listing(here) - listing(whole) == outside
    finally:
        for path in [p for p in whole.rglob("*") if p.is_file() and p not in before]:
            path.unlink()
        for path, content in before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
