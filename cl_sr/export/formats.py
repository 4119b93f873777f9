"""The formats that weights are exported in: what is written, and what a card says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cl_sr.export import folder as ours
from cl_sr.export import sr3, unet2d
from cl_sr.export.source import Source
from cl_sr.image_size import spelled
from cl_sr.models import read_model


@dataclass(frozen=True)
class Format:
    """A way of writing weights.

    Attributes:
        write: `(folder, source)`: the files. Raises InputError where the model is not for it.
        use: `(source, place)`: how to use them, in Markdown.
        contents: `(folder)`: by file, what it holds.
        limits: `(source)`: what a card has to say.
    """

    write: Callable[[Path, Source], None]
    use: Callable[[Source, str], str]
    contents: Callable[[Path], Mapping[str, str]]
    limits: Callable[[Source], list[str]] = lambda _: []


def _use_ours(source: Source, place: str) -> str:
    scale = source.about.scale
    if not source.about.conditional:
        return f"""It is a prior, which is not shown the low-resolution image:

```
{_local(place)}cl-sr zero-shot -i small.png -o restored --scale {scale} --prior {_name(place)}
```"""
    return f"""With cl-sr:

```
cl-sr infer -i small.png -o large.png --weights {place}
```

or in Python:

```python
import cl_sr
from PIL import Image

restore = cl_sr.load("{place}")
restore.upscale(Image.open("small.png")).save("large.png")
```"""


def _use_sr3(source: Source, place: str) -> str:
    model = read_model(source.folder)
    path, size = f"{_name(place)}/{sr3.stem(source)}", spelled(model.architecture["image_size"])
    if model.conditional:
        options = f"norm_groups={model.architecture['norm_groups']} image_size={size}"
        ours = (
            f"cl-sr infer -i small.png -o large.png --weights {path}_gen.pth "
            f"--scale {source.about.scale} {options}"
        )
    else:
        ours = f"cl-sr run --strategy ddnm:prior={path}_gen.pth"
    return f"""In the public SR3 code, with `"path": {{"resume_state": "{path}"}}` and

```json
{sr3.settings(model)}
```

or with cl-sr:

```
{_local(place)}{ours}
```"""


def _use_diffusers(source: Source, place: str) -> str:
    about = source.about
    folder = place.removeprefix("hf:").partition("@")[0]
    if not about.conditional:
        return f"""```python
from diffusers import DDIMPipeline

pipeline = DDIMPipeline.from_pretrained("{folder}")
pipeline(num_inference_steps=50).images[0].save("drawn.png")
```"""
    grey = about.channels == 1
    mode, tensor = ("L", "[None, None]") if grey else ("RGB", ".permute(2, 0, 1)[None]")
    array = "[0].numpy()" if grey else ".permute(1, 2, 0).numpy()"
    image = "sample"
    if about.diffusion.get("target") == "residual":
        image = (
            f"condition + sample / {about.diffusion['residual_scale']}  # a residual is diffused"
        )
    return f"""```python
import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image

unet = UNet2DModel.from_pretrained("{folder}", subfolder="unet")
scheduler = DDIMScheduler.from_pretrained("{folder}", subfolder="scheduler")
small = Image.open("small.png").convert("{mode}")
large = small.resize(({about.scale} * small.width, {about.scale} * small.height), Image.BICUBIC)
condition = torch.from_numpy(np.array(large)){tensor} / 255 * 2 - 1
sample = torch.randn(condition.shape)
scheduler.set_timesteps(50)
for t in scheduler.timesteps:
    with torch.no_grad():
        answer = unet(torch.cat([condition, sample], dim=1), t).sample
    sample = scheduler.step(answer, t, sample).prev_sample
image = {image}
pixels = ((image[0].clamp(-1, 1) + 1) / 2 * 255).round().byte(){array}
Image.fromarray(pixels).save("large.png")
```"""


def _limits_diffusers(source: Source) -> list[str]:
    multiple = 2 ** (len(source.about.architecture["channel_mults"]) - 1)
    told = [f"Height and width of what is drawn must be multiples of {multiple}."]
    if source.about.conditional and source.about.diffusion.get("target") == "residual":
        told.append(
            "cl-sr clips each estimate of the image to [-1, 1] while it draws; a scheduler of "
            "diffusers, which sees the residual alone, does not."
        )
    return told


def _local(place: str) -> str:
    """What brings a place on the hub here."""
    if not place.startswith("hf:"):
        return ""
    repository, _, revision = place.removeprefix("hf:").partition("@")
    option = f" --revision {revision}" if revision else ""
    return f"hf download {repository}{option} --local-dir {_name(place)}\n"


def _name(place: str) -> str:
    """A folder here."""
    return place.partition("@")[0].rpartition("/")[2]


KINDS = {
    "cl-sr": Format(ours.write, _use_ours, ours.contents),
    "sr3": Format(
        sr3.write,
        _use_sr3,
        lambda folder: {path.name: "the weights and the noise schedule" for path in _pth(folder)},
    ),
    "diffusers": Format(
        unet2d.write,
        _use_diffusers,
        lambda folder: {
            name: what
            for name, what in {
                "unet/": "a `UNet2DModel`, whose input is the condition beside the noisy image",
                "scheduler/": "the noise schedule, as a `DDIMScheduler`",
                "model_index.json": "of a `DDIMPipeline`",
            }.items()
            if (folder / name).exists()
        },
        _limits_diffusers,
    ),
}


def _pth(folder: Path) -> list[Path]:
    return sorted(folder.glob("*_gen.pth"))
