"""A picture of any size, enlarged: cut, drawn, and put together with what no net sees of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cl_sr.degradations import Degradation
from cl_sr.degradations.pixels import to_bytes
from cl_sr.diffusion import Sampling
from cl_sr.diffusion.samplers import find_sampler
from cl_sr.diffusion.sampling import DDNM
from cl_sr.diffusion.times import travel_times
from cl_sr.errors import InputError
from cl_sr.image_size import sides
from cl_sr.inference.answers import Answers, BatchDenoiser
from cl_sr.inference.drawing import MARGIN, Answer, Drawing, Input
from cl_sr.inference.fields import Block, Fields, blocks
from cl_sr.inference.joint import draw_ddnm, draw_sampled
from cl_sr.inference.pictures import composed, opened
from cl_sr.inference.tiles import Tiles, reflected, tiles_for
from cl_sr.models import Model, Prior, sr3_prior
from cl_sr.models.model import image_channels
from cl_sr.zero_shot import Operator

REFITS = 8  # of a result that was clamped: each brings it nearer to what also fits the input
GLANCE = 512  # pixels of the longer side that an expert is chosen by, at least


@dataclass(frozen=True)
class Request:
    """How a picture is to be enlarged.

    Attributes:
        tile: side of the tiles that it is cut into, pixels; they are drawn jointly, see
            `cl_sr.inference.drawing`. None: what the model was trained at; 0: the whole picture at
            once, which takes memory.
        overlap: that tiles share, pixels; None: a quarter of a tile.
        by_tile: whether the strategy chooses an expert for each tile.
        expert: that restores the picture, whatever the strategy would choose.
        consistent: whether the result, shrunk, is to be the picture.
        sigma_y: with DDNM, the standard deviation of the noise in the picture, of [-1, 1].
        seed: of the noise.
        batch: most tiles at a time.
        folder: of files for what is too large for memory; None: that for temporary ones.
        progress: told the share that is done, after each batch of tiles.
    """

    tile: int | None = None
    overlap: int | None = None
    by_tile: bool = False
    expert: int | None = None
    consistent: bool = False
    sigma_y: float = 0.0
    seed: int = 0
    batch: int = 16
    folder: Path | None = None
    progress: Callable[[float], None] = lambda _: None


@dataclass(frozen=True)
class Upscaled:
    """An enlarged picture.

    Attributes:
        pixels: uint8 `(H, W, C)`: grey, colours, and maybe transparency; where it is large, in a
            file that vanishes with it.
        profile: its ICC profile; None: it has none.
        experts: by their number, how many tiles each was chosen for.
        consistency: PSNR in dB between the picture and what the degradation makes of the result,
            before that is rounded to 8 bit, capped at 100; None: nothing saw to it.
        settle: gives memory back in which the system keeps what was read of the file.
    """

    pixels: np.ndarray
    profile: bytes | None = None
    experts: Counter[int] = field(default_factory=Counter)
    consistency: float | None = None
    settle: Callable[[], None] = lambda: None

    def picture(self) -> Image.Image:
        """As a picture in memory."""
        pixels = self.pixels[..., 0] if self.pixels.shape[-1] == 1 else self.pixels
        picture = Image.fromarray(pixels)
        if self.profile:
            picture.info["icc_profile"] = self.profile
        return picture


@torch.no_grad()
def upscale(
    picture: Image.Image,
    answers: Answers,
    degradation: Degradation,
    sampling: Sampling,
    request: Request,
) -> Upscaled:
    """A picture, `degradation.scale` times as large.

    Raises:
        InputError: a sampling that does not go with the model or the degradation; no room for it.
        ValueError: tiles that the net cannot take, or a sampling that there is not.
    """
    sampling.check(answers.model.schedule.steps)
    if sampling.sampler != DDNM:
        find_sampler(sampling.sampler)
    model, scale = answers.model, degradation.scale
    prior = prior_of(model) if sampling.sampler == DDNM else None
    if prior is None and not model.conditional:
        raise InputError("this model is a prior, which is not shown the picture: draw with ddnm")
    operator = None
    if prior is not None or request.consistent:
        operator = operator_of(degradation)
        # DDNM is the published one; who asks for consistency shrinks as the data were shrunk.
        operator = operator if prior is not None else getattr(operator, "exact", operator)
    colours, rest = opened(picture, image_channels(model))
    height, width = colours.shape[-2:]
    tiles = _tiles(model, prior, (height, width), scale, request)
    lr = reflected(torch.from_numpy(colours)[None], *tiles.padded(height, width))
    del colours
    fields = Fields(answers.device, request.folder)
    given = Input(lr, _condition(lr, degradation, fields), scale, tiles, (height, width))
    experts: Counter[int] = Counter()
    done = count(1)
    drawing = Drawing(
        given,
        model.shape(given.condition),
        _by_model(answers, given, request, experts) if prior is None else _by_prior(prior),
        answers.device,
        request.seed,
        request.batch,
        fields,
        after_batch=lambda: request.progress(next(done) / batches),
    )
    batches = drawing.batches * _asked(model, sampling)
    if prior is None:
        draw_sampled(drawing, model, sampling, operator)
    else:
        assert operator is not None
        draw_ddnm(drawing, prior, operator, sampling, request.sigma_y)

    def image(block: Block, diffused: Tensor) -> Tensor:
        return model.decode(diffused, drawing.condition_of(block)).clamp(-1, 1)

    if operator is not None:
        drawing.keep_images(image)
        for _ in range(REFITS if prior is None else 0):
            drawing.refit(operator)
    pixels = fields.new((height * scale, width * scale, rest.channels), torch.uint8).cpu()
    for block in drawing.blocks():
        whole = drawing.pixels(block)
        place = whole.cut(*pixels.shape[:2])
        known = operator is not None
        part = whole.of(drawing.images) if known else image(block, block.of(drawing.diffused))
        part = place.within(whole).of(to_bytes(part[0]).cpu())
        rows, columns = slice(place.top, place.bottom), slice(place.left, place.right)
        pixels[rows, columns] = composed(part, rest, place, scale)
    return Upscaled(
        pixels.numpy(),
        rest.profile,
        experts,
        None if operator is None else drawing.consistency(operator),
        fields.settle,
    )


def prior_of(model: Model) -> Prior:
    """What DDNM draws with.

    Raises:
        InputError: the model is none.
    """
    if model.conditional:
        raise InputError("DDNM draws with a prior, and this model is shown the input: use ddim")
    return model.net if isinstance(model.net, Prior) else sr3_prior(model)


def operator_of(degradation: Degradation) -> Operator:
    """A degradation whose pseudo-inverse is known.

    Raises:
        InputError: it has none.
    """
    if not isinstance(degradation, Operator):
        raise InputError(
            f"a result that fits its input needs a linear degradation with a pseudo-inverse, and "
            f"{degradation.name} is none: take bicubic or area"
        )
    return degradation


def _tiles(
    model: Model, prior: Prior | None, picture: tuple[int, int], scale: int, request: Request
) -> Tiles:
    multiple = model.multiple if prior is None else prior.multiple
    step = multiple // math.gcd(multiple, scale)
    size = model.architecture.get("image_size") if prior is None else prior.size
    trained = None
    if size:
        # One that was trained for another scale may have no whole number of pixels in a tile.
        height, width = (max(step, side // scale // step * step) for side in sides(size))
        trained = height, width
    return tiles_for(picture, trained, step, request.tile, request.overlap)


def _condition(lr: Tensor, degradation: Degradation, fields: Fields) -> Tensor:
    """What a model is given of a low-resolution image: uint8 `(1, 3, H, W)`, made in blocks."""
    scale, (height, width) = degradation.scale, lr.shape[-2:]
    condition = fields.new((*lr.shape[:2], height * scale, width * scale), torch.uint8)
    for block in blocks(height * scale, width * scale, scale):
        outer = block.around(MARGIN * scale, height * scale, width * scale)
        part = degradation.condition(outer.shrunk(scale).of(lr))
        block.of(condition).copy_(block.within(outer).of(part))
        fields.settle()
    return condition


def _by_model(answers: Answers, given: Input, request: Request, experts: Counter[int]) -> Answer:
    """Tiles are answered for by the model: by the experts that the strategy or the user chose.

    Args:
        answers, given, request: see there.
        experts: is told those that were chosen, for how many tiles each.
    """
    chosen: Tensor | None = None
    if request.expert is not None:
        chosen = torch.tensor([request.expert], device=answers.device)
    elif not request.by_tile:
        chosen = answers.route(_glance(given.lr).to(answers.device))
    tiles = given.tiles.count(*given.lr.shape[-2:])

    def answer(lr: Tensor, condition: Tensor) -> Callable[[Tensor, Any], Tensor]:
        numbers = answers.route(lr) if chosen is None else chosen.expand(len(lr))
        if experts.total() < tiles:  # in the first step
            experts.update(numbers.tolist())
        denoise = BatchDenoiser(answers, lr, numbers, condition)
        return lambda noisy, level: denoise(noisy, None, level * noisy.new_ones(len(noisy)))

    return answer


def _by_prior(prior: Prior) -> Answer:
    """Tiles are answered for by a prior, at a time-step."""
    return lambda lr, condition: prior


def _glance(lr: Tensor) -> Tensor:
    """An 8-bit image as it is seen to choose its expert: large ones from further away."""
    far = max(lr.shape[-2:]) // GLANCE
    if far < 2:
        return lr
    high, wide = (min(far, side) for side in lr.shape[-2:])
    rows = [
        F.avg_pool2d(band.float(), (high, wide))
        for band in lr[..., : lr.shape[-2] // high * high, :].split(64 * high, dim=-2)
    ]
    return torch.cat(rows, dim=-2).round().to(torch.uint8)


def _asked(model: Model, sampling: Sampling) -> int:
    """How often a net answers for each tile."""
    total = model.schedule.steps
    if sampling.sampler != DDNM:
        return len(model.schedule.respace(sampling.steps)) - 1
    steps = total if sampling.steps is None else sampling.steps
    times = travel_times(total, steps, sampling.travel_length, sampling.travel_repeat)
    return sum(then < now for now, then in pairwise(times))
