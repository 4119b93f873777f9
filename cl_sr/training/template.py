"""SR3 as an Avalanche strategy."""

from __future__ import annotations

import copy
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cl_sr.data.order import Passes, Seeded, derived_seed
from cl_sr.data.pairs import unpack
from cl_sr.data.resize import Kernel, downsample
from cl_sr.diffusion import Denoiser, NoiseSchedule, Parametrization, sample
from cl_sr.errors import Diverged, InputError
from cl_sr.evaluation.matrix import INIT
from cl_sr.evaluation.metrics import MAX_PSNR, Protocol, psnr
from cl_sr.models.lora import plain_state
from cl_sr.strategies import Memory, Strategy, compose
from cl_sr.training.checkpoints import Checkpoints, Saved
from cl_sr.training.ema import MovingAverage
from cl_sr.training.packed import DenoisingLoss, PackedSR3, Seen
from cl_sr.training.rng import RandomState, isolated_rng
from cl_sr.training.state import check_memory, restore, restore_between, restore_memory
from cl_sr.training.stopping import SIGNALS, StopRequest

LOOK_EVERY = 50  # iterations between looks at whether the loss is finite
Net = Callable[[Tensor, Tensor | None, Tensor], Tensor]


@dataclass(frozen=True)
class Sampling:
    """How images are drawn at each evaluation: fixed for a run, so that its curves compare."""

    sampler: str = "ddim"
    steps: int | None = 10
    eta: float = 0.0
    seed: int = 0


class SR3Template(SupervisedTemplate):
    """Trains a conditional diffusion model over a stream of image domains.

    An Avalanche template: its hooks, clock, plugins, evaluator and loggers are Avalanche's. On
    top of `SupervisedTemplate` it has an exact number of iterations for each experience, a moving
    average of the weights, mixed precision, gradient clipping, evaluation at exact iterations
    that leaves the random numbers of training alone, and sampling as its evaluation step.

    At the end of an experience the moving average becomes the weights: what is evaluated is what
    is saved, and what the next experience starts from. The optimizer starts each experience anew.

    Args:
        net: `net(noisy, condition, level)`, such as `SR3UNet`.
        schedule: the noise schedule to train with.
        parametrization: what the net predicts and what is diffused.
        conditional: whether the net sees the low-resolution image.
        scale, kernel: how low-resolution images are made.
        flip: whether images of the past are mirrored at random, as new ones are.
        iterations: of each training experience.
        test_stream: Avalanche experiences to evaluate on, one domain each; empty: no evaluation.
        strategy: the continual-learning strategy, or several (`cl_sr.strategies.Composition`).
        sampling: how images are drawn for evaluation.
        seed: of the order of the training images and their random crops.
        checkpoints: writes the state when it is due; None: never.
        stop: a request to stop, looked at after every iteration and sampling step.
        eval_every: iterations between evaluations within an experience; 0: none.
        batch_size, eval_batch_size: images.
        lr: of Adam.
        loss: `l2` or `l1`.
        ema: decay of the moving average; 0: none.
        clip: largest norm of the gradient; 0: no limit.
        bf16: autocast the net to bfloat16.
        device: where to train.
        workers: processes that load images; 0: in this one.
        plugins: further Avalanche plugins.
        evaluator: Avalanche's manager of metrics and loggers; None: silent.

    Attributes:
        memory: what the strategies remember.
        seen: what the net was shown in this iteration.
        seconds: of each experience, without evaluations and checkpoints; CPU time on a CPU, so that
            it can be compared whatever else the machine does.

    Example:
        >>> template = SR3Template(
        ...     net=SR3UNet(),
        ...     schedule=NoiseSchedule.linear(),
        ...     parametrization=Parametrization(),
        ...     iterations=[1000, 500],
        ... )
        >>> for experience in benchmark.train_stream:
        ...     template.train(experience)
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        schedule: NoiseSchedule,
        parametrization: Parametrization,
        iterations: Sequence[int],
        conditional: bool = True,
        scale: int = 4,
        kernel: Kernel = "bicubic",
        flip: bool = True,
        test_stream: Sequence[Any] = (),
        strategy: Strategy | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
        checkpoints: Checkpoints | None = None,
        stop: StopRequest | None = None,
        eval_every: int = 0,
        batch_size: int = 16,
        eval_batch_size: int = 64,
        lr: float = 1e-4,
        loss: str = "l2",
        ema: float = 0.9999,
        clip: float = 1.0,
        bf16: bool = False,
        device: torch.device | str = "cpu",
        workers: int = 0,
        plugins: Sequence[Any] = (),
        evaluator: EvaluationPlugin | None = None,
    ) -> None:
        self.strategy = compose(strategy or Strategy())
        self.memory: Memory = {}
        self.seen: Seen | None = None
        self.seconds: list[float] = []
        self.held_out: Any = []
        self._rows: dict[str, slice] = {}
        on_cpu = torch.device(device).type == "cpu"
        self._clock = time.process_time if on_cpu else time.monotonic
        self._started = 0.0
        self._skeleton = _skeleton(net)
        self._others: list[tuple[Any, nn.Module]] = []  # nets with other weights, the last two
        self.scale = scale
        self.kernel: Kernel = kernel
        self.flip = flip
        self.budgets = list(iterations)
        self.test_stream = list(test_stream)
        self.sampling = sampling or Sampling()
        self.evaluate_every = eval_every  # not Avalanche's eval_every, which draws random numbers
        self.learning: Any = None  # the training experience, also while another is evaluated
        self.trained_on = INIT  # the domains that are being learnt, or were last
        self.ema_decay = ema
        self.ema: MovingAverage | None = None
        self.seed = seed
        self.checkpoints = checkpoints
        self.stop = stop or StopRequest()
        self.lr_scale = 1.0  # below 1 after a divergence
        self.random_before_evaluation: RandomState | None = None  # while one goes on
        self._resumed: Saved | None = None
        self._within = False  # an experience, between its first and its last iteration
        self._diverged = torch.tensor(-1, device=device)
        self.clip = clip
        self.lr = lr
        self.bf16 = bf16
        self.workers = workers
        model = PackedSR3(net, schedule, parametrization, conditional).to(device)
        # Convolutions are faster with channels last, on a CPU and on tensor cores.
        self.memory_format: torch.memory_format = (
            torch.contiguous_format if self.strategy.contiguous else torch.channels_last
        )
        model.to(memory_format=self.memory_format)
        # Already here, as plugins may look at them.
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        self.device = torch.device(device)
        super().__init__(
            model=model,
            optimizer=self.optimizer,
            criterion=DenoisingLoss(loss),
            train_mb_size=batch_size,
            eval_mb_size=eval_batch_size,
            device=device,
            plugins=[*self.strategy.plugins(self), *plugins],
            evaluator=evaluator or EvaluationPlugin(loggers=[_Silent()]),
        )

    # Training: an exact number of iterations

    @property
    def budget(self) -> int:
        """The iterations of the present experience."""
        assert self.experience is not None
        return self.budgets[self.experience.current_experience]

    @property
    def number(self) -> int:
        """The number of the experience that is being learnt, or was last; from 0."""
        return int(self.learning.current_experience) if self.learning else 0

    def train(self, experiences: Any, eval_streams: Any = None, **kwargs: Any) -> Any:
        """Train on one experience or several; see `SupervisedTemplate.train`."""
        kwargs = {"reset_optimizer_state": True, "num_workers": self.workers} | kwargs
        # Never None: Avalanche would evaluate on the training images.
        return super().train(experiences, eval_streams or [], **kwargs)

    def make_train_dataloader(self, num_workers: int = 0, **kwargs: Any) -> None:
        """All batches of the experience, as one pass over a repeatedly shuffled data set."""
        assert self.adapted_dataset is not None
        assert self.experience is not None
        seed = derived_seed(self.seed, self.experience.current_experience)
        done = self._resumed.values["experience_iteration"] if self._resumed else 0
        start, stop = (n * self.train_mb_size for n in (done, self.budget))
        self.dataloader: Any = DataLoader(
            Seeded(self.adapted_dataset, seed),
            batch_size=self.train_mb_size,
            sampler=Passes(len(self.adapted_dataset), start, stop, seed),
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_leave_signals_to_the_run,
            generator=torch.Generator(),  # else it would draw from the one that training uses
        )

    def resume(self, saved: Saved) -> None:
        """Take up a run at a checkpoint, which the next call of `train` begins from.

        That call must be for the experience `saved.values["experience"]`.
        """
        self.lr_scale = min(self.lr_scale, saved.values["lr_scale"])
        self._resumed = saved

    def _before_training_exp(self, **kwargs: Any) -> None:
        assert self.experience is not None
        self._started = self._clock()
        self.learning = self.experience
        self.model.window = self.strategy.window(self.number, self.model.schedule.steps)
        saved = self._resumed
        if saved is not None and saved.between:
            # Not before `train`: plugins may look at the first random weights there.
            _put_back(restore_between, self, saved)
            self._resumed = None
        elif saved is not None:
            _put_back(restore_memory, self, saved)
        self.strategy.adapt(self, self.memory)
        self.model.to(self.device)
        super()._before_training_exp(**kwargs)
        if self.ema_decay:
            self.ema = MovingAverage(self.model, self.ema_decay)

    def make_optimizer(self, **kwargs: Any) -> None:
        """Adam anew, over what is trained in this experience."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        if not trained:
            raise InputError(f"strategy {self.strategy.name}: no weight is left to be trained")
        self.optimizer.state.clear()
        self.model.zero_grad()  # what is frozen now has gradients of the last experience
        rate = self.strategy.learning_rate(self.number, self.lr)
        if not (isinstance(rate, float) and 0 < rate < math.inf):
            raise InputError(
                f"strategy {self.strategy.name}: learning_rate() must be a positive float, "
                f"not {rate!r}"
            )
        # In place, as schedulers hold on to it.
        (group,) = self.optimizer.param_groups
        group |= {"params": trained, "lr": rate * self.lr_scale}

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        saved, self._resumed = self._resumed, None
        if saved is not None:
            _put_back(restore, self, saved)
        else:
            self.seconds.append(0.0)
            if experience.current_experience == 0:
                self.evaluate()
            self.trained_on = "+".join(experience.domains)
            self.strategy.begin(self, self.memory)
            check_memory(self.memory)
        self._within = True
        if saved is not None:
            self._evaluate_if_due()
        # A plugin may have put a loader of its own in place (replay does), of any length.
        loader: Any = self.dataloader
        while (left := self.budget - self.clock.train_exp_iterations) > 0:
            self.dataloader = _Shortened(loader, left)
            self._before_training_epoch(**kwargs)
            self.training_epoch(**kwargs)
            self._after_training_epoch(**kwargs)
            if self._stop_training:
                break

    def _after_train_dataset_adaptation(self, **kwargs: Any) -> None:
        super()._after_train_dataset_adaptation(**kwargs)
        dataset: Any = self.adapted_dataset
        kept = len(dataset) - self.strategy.hold_out(self, len(dataset))
        self.held_out = dataset.subset(range(kept, len(dataset)))
        self.adapted_dataset: Any = dataset.subset(range(kept))

    def _before_training_iteration(self, **kwargs: Any) -> None:
        self._rehearse()
        super()._before_training_iteration(**kwargs)

    def _rehearse(self) -> None:
        """Put images of the past in the place of the last new ones of the batch."""
        batch = self.mb_x
        size, self._rows = len(batch), {}
        given = self.strategy.rehearsals(self, self.memory, size)
        if not given:
            return
        for title, images in given.items():
            if not isinstance(images, Tensor) or (
                images.dtype != torch.uint8
                or images.shape[1:] != batch.shape[1:]
                or not len(images)
            ):
                raise InputError(
                    f"strategy {title}: rehearsal() must return uint8 images of shape "
                    f"(n, {', '.join(map(str, batch.shape[1:]))}), or None"
                )
        first = size
        for title, images in given.items():
            self._rows[title] = slice(first - len(images), first)
            first -= len(images)
        if first < 1:
            raise InputError(
                f"{' and '.join(given)} leave no room for new images in a batch of {size}: lower "
                "their ratios, or raise train.batch_size"
            )
        mixed = [images.to(self.device) for images in reversed(given.values())]
        self.mbatch[0] = torch.cat([batch[:first], *mixed]).contiguous()

    def forward(self) -> Tensor:
        """What `PackedSR3.forward` returns, with the targets that the strategy wants."""
        with self.autocast():
            seen = self.model.show(self.mb_x)
        new = min((rows.start for rows in self._rows.values()), default=seen.new)
        seen = replace(seen, new=new, rows=self._rows)
        self.seen = seen.with_truth(self.strategy.target(self, self.memory, seen))
        return self.seen.packed

    def criterion(self) -> Tensor:
        """The denoising error, and what strategies add to it."""
        loss: Tensor = super().criterion()
        return loss + self.strategy.penalty(self, self.memory) if self.is_training else loss

    def optimizer_step(self) -> None:
        if self.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        super().optimizer_step()
        if self.ema is not None:
            self.ema.update_parameters(self.model)

    def _after_training_iteration(self, **kwargs: Any) -> None:
        super()._after_training_iteration(**kwargs)
        done = self.clock.train_iterations  # the clock, a plugin, has counted this one
        bad = (self._diverged < 0) & ~torch.isfinite(self.loss.detach())
        self._diverged = torch.where(bad, done, self._diverged)
        if done % LOOK_EVERY == 0:
            self._check_finite()
        last = self.clock.train_exp_iterations == self.budget
        due = self.checkpoints is not None and self.checkpoints.due(done)
        if self.checkpoints is not None and (due or last):
            self._check_finite()
            with self._clock_stopped():
                self.checkpoints.write(self, passing=not due)
        self._stop_if_asked()
        self._evaluate_if_due()

    def _evaluate_if_due(self) -> None:
        done = self.clock.train_exp_iterations
        if self.evaluate_every and done % self.evaluate_every == 0 and done < self.budget:
            self.evaluate()

    def _check_finite(self) -> None:
        """Refuse to go on with numbers that are none; on a GPU this waits for it.

        Raises:
            Diverged: the loss or a weight is not finite.
        """
        first = int(self._diverged)
        if first >= 0:
            raise Diverged(first, "the loss is not finite")
        if not nn.utils.get_total_norm(self.model.parameters()).isfinite():
            raise Diverged(self.clock.train_iterations, "the weights are not finite")

    def _stop_if_asked(self) -> None:
        """Save what there is, and stop.

        Raises:
            Stopped: it was asked for.
        """
        if self.stop.signum is not None and self._within and self.checkpoints is not None:
            self._check_finite()
            self.checkpoints.write(self)
        self.stop.check()

    def _after_training_exp(self, **kwargs: Any) -> None:
        self._within = False
        self._check_finite()
        if self.ema is not None:
            self.model.load_state_dict(self.ema.module.state_dict())
            self.ema = None
        self.seen = None
        self.model.requires_grad_(True)
        self.strategy.settle(self, self.memory)
        self.strategy.end(self, self.memory)
        check_memory(self.memory)
        self._others = []
        self.model.to(memory_format=self.memory_format)
        super()._after_training_exp(**kwargs)
        self.seconds[-1] += self._clock() - self._started
        self.evaluate()

    @property
    def seconds_so_far(self) -> list[float]:
        """Of each experience, with the one that is going on."""
        if not self._within:
            return list(self.seconds)
        return [*self.seconds[:-1], self.seconds[-1] + self._clock() - self._started]

    @contextmanager
    def _clock_stopped(self) -> Iterator[None]:
        """What is done inside is not training."""
        before = self._clock()
        yield
        self._started += self._clock() - before

    # For strategies

    @property
    def net(self) -> nn.Module:
        """The net that is trained."""
        net: nn.Module = self.model.net
        return net

    def net_of(self, weights: Mapping[str, Tensor]) -> Net:
        """The net with other weights, such as those before an experience: for inference alone.

        Args:
            weights: by the names of the plain net, as `plain_state` gives them.
        """
        # Asked for in every iteration, by as many as two strategies.
        module = next((net for of, net in self._others if of is weights), None)
        if module is None:
            module = copy.deepcopy(self._skeleton)
            module.load_state_dict(dict(weights), assign=True)
            module.to(memory_format=self.memory_format).requires_grad_(False)
            self._others = [*self._others[-1:], (weights, module)]

        def net(noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
            with torch.no_grad(), self.autocast():
                answer: Tensor = module(noisy, condition, level)
            return answer.float()

        return net

    def denoising_loss(self, seen: Seen) -> Tensor:
        """The loss of an answer, as it is trained (`diffusion.loss`)."""
        loss: Tensor = self._criterion(seen.packed, None)
        return loss

    def weights(self) -> Tensor:
        """All weights of the net that is trained as one vector, with gradients."""
        return torch.cat([weight.flatten() for weight in self.net.parameters()])

    def quality(
        self,
        packed: Tensor,
        weights: Mapping[str, Tensor],
        seed: int = 0,
        protocol: Protocol = "rgb8",
    ) -> float:
        """The mean PSNR in dB of restoring images, uint8 `(N, 6, H, W)`, with some weights.

        Args:
            packed: condition over image.
            weights: as `net_of` takes them.
            seed: of the first image's noise; the next has the next.
            protocol: of PSNR.
        """
        net, values = self.net_of(weights), []
        for first in range(0, len(packed), self.eval_mb_size):
            condition, image = unpack(packed[first : first + self.eval_mb_size].to(self.device))
            seeds = range(seed + first, seed + first + len(condition))
            restored = self.sample(condition, seeds, net)
            values.append(psnr((restored + 1) / 2, (image + 1) / 2, protocol))
        return float(torch.cat(values).clamp(max=MAX_PSNR).mean())

    def held_out_images(self) -> Tensor:
        """The images that `Strategy.hold_out` kept from training, uint8 `(N, 6, H, W)`."""
        return torch.stack([self.held_out[index][0] for index in range(len(self.held_out))])

    def low_resolution_images(self, passes: int = 1) -> Tensor:
        """Of the experience, at most 4096, as `training_images`: uint8 `(n, 3, h, w)`."""
        packed = self._drawn(4096, passes)
        return torch.cat([downsample(p[None, 3:], self.scale, self.kernel) for p in packed])

    def training_images(self, count: int, passes: int = 1) -> Tensor:
        """At most `count` images of the experience, drawn at random: uint8 `(n, 6, H, W)`.

        All come once before any comes again, with another crop and mirroring, in another pass.
        """
        return torch.stack(list(self._drawn(count, passes)))

    def _drawn(self, count: int, passes: int) -> Iterator[Tensor]:
        dataset: Any = self.adapted_dataset
        chosen = torch.cat([torch.randperm(len(dataset)) for _ in range(passes)])[:count].tolist()
        return (dataset[index][0] for index in chosen)

    # Evaluation: sampling

    def evaluate(self) -> None:
        """Sample and measure every test image, leaving the random numbers of training alone."""
        if self.test_stream:
            self._check_finite()
            with self._clock_stopped(), isolated_rng() as self.random_before_evaluation:
                self.eval(self.test_stream)
            self.random_before_evaluation = None

    @property
    def inference_net(self) -> nn.Module:
        """The net to draw images with: the moving average where there is one."""
        model: Any = self.model if self.ema is None else self.ema.module
        net: nn.Module = model.net
        return net

    @property
    def plain_names(self) -> list[str]:
        """The names of the net's weights, without adapters."""
        return list(self._skeleton.state_dict())

    @property
    def inference_state(self) -> dict[str, Tensor]:
        """A copy of the weights of `inference_net`, with adapters merged."""
        return plain_state(self.inference_net, self.plain_names)

    def sample(self, condition: Tensor, seeds: Sequence[int], net: Net | None = None) -> Tensor:
        """Images `(B, 3, H, W)` in [-1, 1], by the sampling of this run.

        Args:
            condition: the upsampled low-resolution images, `(B, 3, H, W)` in [-1, 1].
            seeds: one an image.
            net: the net to draw them with; None: the one that is trained, as it is.
        """
        net = self.inference_net if net is None else net
        denoiser = Denoiser(net, self.model.parametrization, self.autocast)
        return sample(
            denoiser,
            condition,
            self.model.schedule,
            self.sampling.sampler,
            self.sampling.steps,
            eta=self.sampling.eta,
            seeds=seeds,
            callback=self.pause,
        )

    def pause(self, _: Any = None) -> None:
        """To be called between sampling steps: the place to stop, where that was asked for."""
        self._stop_if_asked()

    def eval_epoch(self, **kwargs: Any) -> None:
        self.inference_net.eval()  # Avalanche restores the modes of the trained model
        first = self.sampling.seed
        for self.mbatch in self.dataloader:  # noqa: B020  as Avalanche does
            self._unpack_minibatch()
            self._before_eval_iteration(**kwargs)
            self._before_eval_forward(**kwargs)
            condition, _ = unpack(self.mb_x)
            # On the CPU, as a run prepares its images: devices round differently.
            low = downsample(self.mb_x[:, 3:].cpu(), self.scale, self.kernel)
            self.mb_output = self.strategy.restore(
                self,
                self.memory,
                condition,
                low.to(self.device) / 127.5 - 1,
                range(first, first + len(condition)),
            )
            if not isinstance(self.mb_output, Tensor) or (
                self.mb_output.shape != condition.shape or not self.mb_output.is_floating_point()
            ):
                raise InputError(
                    f"strategy {self.strategy.name}: restore() must return images of shape "
                    f"{tuple(condition.shape)} as floats"
                )
            first += len(condition)
            self._after_eval_forward(**kwargs)
            self._after_eval_iteration(**kwargs)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision that the net is run in."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def _skeleton(net: nn.Module) -> nn.Module:
    """A copy without weights, to call with any."""
    empty: dict[int, Any] = {id(b): torch.empty_like(b, device="meta") for b in net.buffers()}
    for weight in net.parameters():
        tensor = torch.empty_like(weight, device="meta")
        empty[id(weight)] = nn.Parameter(tensor, requires_grad=False)
    return copy.deepcopy(net, empty).eval()


def _leave_signals_to_the_run(_: int) -> None:
    """Clusters send them to every process, and a run loses its state when a worker dies of one."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _put_back(restore: Callable[..., None], template: SR3Template, saved: Saved) -> None:
    """Restore a checkpoint that may hold anything.

    Raises:
        InputError: it is not of such a template.
    """
    try:
        restore(template, saved.weights, saved.tensors, saved.values)
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{saved.path} is damaged or of another model ({type(error).__name__}: {error}): "
            "remove it to go on from an earlier one"
        ) from error


class _Shortened:
    """The first `length` batches of a loader; loggers ask for the length."""

    def __init__(self, loader: Any, length: int) -> None:
        self.loader = loader
        self.length = min(length, len(loader))

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        for _, batch in zip(range(self.length), self.loader, strict=False):
            yield batch


class _Silent:
    """A logger that says nothing; without any, Avalanche warns."""

    def log_metrics(self, values: Any) -> None: ...
