"""A diffusion model as an Avalanche strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cl_sr.avalanche import EvaluationPlugin, SupervisedTemplate
from cl_sr.data.order import derived_seed, noise_seeds
from cl_sr.data.samples import Samples
from cl_sr.degradations import Degradation
from cl_sr.errors import InputError
from cl_sr.evaluation.matrix import INIT
from cl_sr.inference.device import autocast, memory_format
from cl_sr.inference.nets import Nets
from cl_sr.inference.restorer import Restorer
from cl_sr.models import Model
from cl_sr.models.objective import DenoisingLoss, Objective
from cl_sr.stopping import StopRequest
from cl_sr.strategies import Composition, Memory, compose
from cl_sr.training import state
from cl_sr.training.checkpoints import Checkpoints, Saved
from cl_sr.training.divergence import Divergence
from cl_sr.training.ema import MovingAverage
from cl_sr.training.images import ExperienceImages
from cl_sr.training.learner import RunLearner
from cl_sr.training.loader import Shortened, training_loader
from cl_sr.training.loggers import Silent
from cl_sr.training.rehearsal import rehearse
from cl_sr.training.rng import RandomState, isolated_rng
from cl_sr.training.settings import Evaluation, Optimization
from cl_sr.training.stopwatch import Stopwatch


class DiffusionTemplate(SupervisedTemplate):
    """Trains a conditional diffusion model over a stream of image domains.

    An Avalanche template, with an exact number of iterations for each experience, a moving average
    of the weights, mixed precision, gradient clipping, evaluation at exact iterations that leaves
    the random numbers of training alone, and sampling as its evaluation step.

    At the end of an experience the moving average becomes the weights: what is evaluated is what
    is saved, and what the next experience starts from. The optimizer starts each experience anew.

    Args:
        model: that is trained.
        degradation: that made the low-resolution images.
        iterations: of each training experience.
        strategy: what is done against forgetting; None: plain fine-tuning.
        optimization: how it is trained.
        evaluation: when, on what and how it is evaluated.
        seed: of the order of the training images and their random crops.
        device: where to train.
        checkpoints: writes the state when it is due; None: never.
        stop: a request to stop, looked at after every iteration and sampling step.
        plugins: further Avalanche plugins.
        evaluator: Avalanche's manager of metrics and loggers; None: silent.

    Attributes:
        learner: what strategies are given.
        memory: what they remember.
        learning: the training experience, also while another is evaluated; None before any.
        trained_on: the domains that are being learnt, or were last.
        stopwatch: what learning took.
        ema: the moving average, while an experience lasts.
        lr_scale: below 1 after a divergence.
    """

    def __init__(
        self,
        *,
        model: Model,
        degradation: Degradation,
        iterations: Sequence[int],
        strategy: Composition | None = None,
        optimization: Optimization | None = None,
        evaluation: Evaluation | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        checkpoints: Checkpoints | None = None,
        stop: StopRequest | None = None,
        plugins: Sequence[Any] = (),
        evaluator: EvaluationPlugin | None = None,
    ) -> None:
        device = torch.device(device)
        self.strategy = strategy or compose("finetune")
        self.memory: Memory = {}
        self.learning: Any = None
        self.trained_on = INIT
        self.stopwatch = Stopwatch(device)
        self.ema: MovingAverage | None = None
        self.lr_scale = 1.0
        self._optimization = optimization = optimization or Optimization()
        self._evaluation = evaluation = evaluation or Evaluation()
        self._budgets, self._seed = list(iterations), seed
        self._checkpoints = checkpoints
        self._stop = stop or StopRequest()
        self._divergence = Divergence(device)
        self._before_evaluation: RandomState | None = None  # while one goes on
        self._resumed: Saved | None = None
        self._within = False  # an experience, between its first and its last iteration
        self._rows: dict[str, slice] = {}
        self._layout = memory_format(self.strategy.traits.contiguous)
        self._nets = Nets(model.net, self._layout)
        objective = Objective(model, degradation).to(device).to(memory_format=self._layout)
        self._frozen = {n for n, p in objective.named_parameters() if not p.requires_grad}
        self.learner = RunLearner(
            objective,
            self.strategy,
            self._nets,
            optimization,
            seed=seed,
            device=device,
            inference_net=lambda: self.inference_net,
            pause=self._stop_if_asked,
        )
        # Already here, as plugins may look at them.
        self.model: Any = objective
        self.optimizer = torch.optim.Adam(objective.parameters(), lr=optimization.lr)
        self.device = device
        super().__init__(
            model=objective,
            optimizer=self.optimizer,
            criterion=DenoisingLoss(optimization.loss),
            train_mb_size=optimization.batch_size,
            eval_mb_size=evaluation.batch_size,
            device=device,
            plugins=[*self.strategy.plugins(), *plugins],
            evaluator=evaluator or EvaluationPlugin(loggers=[Silent()]),
        )

    @property
    def budget(self) -> int:
        """The iterations of the present experience."""
        return self._budgets[self.learner.number]

    def train(self, experiences: Any, eval_streams: Any = None, **kwargs: Any) -> Any:
        """Train on one experience or several; see `SupervisedTemplate.train`."""
        kwargs = {"reset_optimizer_state": True, "num_workers": self._optimization.workers} | kwargs
        # Never None: Avalanche would evaluate on the training images.
        return super().train(experiences, eval_streams or [], **kwargs)

    def make_train_dataloader(self, num_workers: int = 0, **kwargs: Any) -> None:
        """All batches of the experience, as one pass over a repeatedly shuffled data set."""
        seed = derived_seed(self._seed, self.learner.number)
        done = self._resumed.values["experience_iteration"] if self._resumed else 0
        iterations, gpu = range(done, self.budget), self.device.type == "cuda"
        self.dataloader: Any = training_loader(
            self.adapted_dataset, seed, iterations, self.train_mb_size, num_workers, gpu
        )

    def resume(self, saved: Saved) -> None:
        """Take up a run at a checkpoint: the next call of `train` must be for its experience."""
        self.lr_scale = min(self.lr_scale, saved.values["lr_scale"])
        self._resumed = saved

    def _before_training_exp(self, **kwargs: Any) -> None:
        experience: Any = self.experience
        self.stopwatch.start()
        self.learning = experience
        learner, options = self.learner, self._optimization
        learner.number = int(experience.current_experience)
        learner.last = learner.number + 1 == len(self._budgets)
        learner.lr, scale = options.lr, learner.degradation.scale
        learner.images = ExperienceImages(experience.dataset, scale, options.flip)
        steps = self.model.model.schedule.steps
        self.model.window = self.strategy.window(learner.number, steps)
        if (saved := self._resumed) is not None:
            # Not before `train`: plugins may look at the first random weights there.
            saved.put_back(state.restore_between if saved.between else state.restore_memory, self)
            self._resumed = None if saved.between else saved
        self.strategy.each("adapt", learner, self.memory)
        self.model.to(self.device)
        super()._before_training_exp(**kwargs)
        if options.ema:
            self.ema = MovingAverage(self.model, options.ema)

    def _after_train_dataset_adaptation(self, **kwargs: Any) -> None:
        super()._after_train_dataset_adaptation(**kwargs)
        self.adapted_dataset: Any = self.learner.images.take(self.adapted_dataset)

    def make_optimizer(self, **kwargs: Any) -> None:
        """Adam anew, over what is trained in this experience."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        if not trained:
            raise InputError(f"strategy {self.strategy.name}: no weight is left to be trained")
        self.optimizer.state.clear()
        self.model.zero_grad()  # what is frozen now has gradients of the last experience
        (group,) = self.optimizer.param_groups  # in place, as schedulers hold on to it
        group |= {"params": trained, "lr": self.learner.lr * self.lr_scale}

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        saved, self._resumed = self._resumed, None
        if saved is not None:
            saved.put_back(state.restore, self)
        else:
            self.stopwatch.seconds.append(0.0)
            if experience.current_experience == 0:
                self.evaluate()
            self.trained_on = "+".join(experience.domains)
            self.strategy.each("begin", self.learner, self.memory)
        self._within = True
        if saved is not None:
            self._evaluate_if_due()
        # A plugin may have put a loader of its own in place (replay does), of any length.
        loader: Any = self.dataloader
        while (left := self.budget - self.clock.train_exp_iterations) > 0:
            self.dataloader = Shortened(loader, left)
            self._before_training_epoch(**kwargs)
            self.training_epoch(**kwargs)
            self._after_training_epoch(**kwargs)
            if self._stop_training:
                break

    def _before_training_iteration(self, **kwargs: Any) -> None:
        batch: Tensor = self.mb_x
        given = self.strategy.rehearsals(self.learner, self.memory, len(batch))
        self.mbatch[0], self._rows = rehearse(batch, given, self.learner.degradation.scale)
        super()._before_training_iteration(**kwargs)

    @property
    def samples(self) -> Samples:
        """The images of the present mini-batch."""
        return Samples.unpack(self.mb_x, self.learner.degradation.scale)

    def forward(self) -> Tensor:
        """What `Objective.forward` returns, with the targets that the strategy wants."""
        with autocast(self.device, self._optimization.bf16)():
            seen = self.model.show(self.mb_x).with_past(self._rows)
        target = self.strategy.target(self.learner, self.memory, seen)
        self.learner.seen = seen.with_truth(target)
        return self.learner.seen.packed()

    def criterion(self) -> Tensor:
        """The denoising error, and what strategies add to it."""
        loss: Tensor = super().criterion()
        return loss + self.strategy.penalty(self.learner, self.memory) if self.is_training else loss

    def optimizer_step(self) -> None:
        if self._optimization.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._optimization.clip)
        super().optimizer_step()
        if self.ema is not None:
            self.ema.update_parameters(self.model)

    def _after_training_iteration(self, **kwargs: Any) -> None:
        super()._after_training_iteration(**kwargs)
        done = self.clock.train_iterations  # the clock, a plugin, has counted this one
        self._divergence.watch(self.loss, self.model, done)
        last = self.clock.train_exp_iterations == self.budget
        due = self._checkpoints is not None and self._checkpoints.due(done)
        if due or last:  # the very last one is kept, for runs that go on from this one
            self._save(passing=not (due or self.learner.last))
        self._stop_if_asked()
        self._evaluate_if_due()

    def _save(self, passing: bool = False) -> None:
        """Write the state, where states are written at all."""
        if self._checkpoints is not None:
            self._divergence.check(self.model, self.clock.train_iterations)
            with self.stopwatch.paused():
                random = self._before_evaluation or RandomState.now()
                self._checkpoints.write(self, random, passing)

    def _stop_if_asked(self) -> None:
        """Where it was asked for, save what there is and raise `Stopped`."""
        if self._stop.signum is not None and self._within:
            self._save()
        self._stop.check()

    def _after_training_exp(self, **kwargs: Any) -> None:
        self._within = False
        self._divergence.check(self.model, self.clock.train_iterations)
        if self.ema is not None:
            self.model.load_state_dict(self.ema.module.state_dict())
            self.ema = None
        self.learner.seen = None
        for name, weight in self.model.named_parameters():
            weight.requires_grad_(name not in self._frozen)
        self.strategy.each("settle", self.learner, self.memory)
        self.strategy.each("end", self.learner, self.memory)
        self.learner.forget_nets()
        self.model.to(memory_format=self._layout)
        super()._after_training_exp(**kwargs)
        self.stopwatch.stop()
        self.evaluate()

    def evaluate(self) -> None:
        """Sample and measure every test image, leaving the random numbers of training alone."""
        if self._evaluation.stream:
            self._divergence.check(self.model, self.clock.train_iterations)
            with self.stopwatch.paused(), isolated_rng() as self._before_evaluation:
                self.eval(list(self._evaluation.stream))
            self._before_evaluation = None

    def _evaluate_if_due(self) -> None:
        done, every = self.clock.train_exp_iterations, self._evaluation.every
        if every and done % every == 0 and done < self.budget:
            self.evaluate()

    @property
    def inference_net(self) -> nn.Module:
        """The net to draw images with: the moving average where there is one."""
        model: Any = self.model if self.ema is None else self.ema.module
        net: nn.Module = model.net
        return net

    def restorer(self) -> Restorer:
        """What restores images with the weights and the memory of now."""
        self.inference_net.eval()  # Avalanche restores the modes of the trained model
        return Restorer(
            self.model.model.with_net(self.inference_net),
            self.learner.degradation,
            self._evaluation.sampling,
            experts=self.strategy.experts(self.memory),
            nets=self._nets,
            autocast=autocast(self.device, self._optimization.bf16),
            batch=self._evaluation.batch_size,
            pause=self._stop_if_asked,
        )

    def eval_epoch(self, **kwargs: Any) -> None:
        restorer, first = self.restorer(), self._evaluation.sampling.seed
        for self.mbatch in self.dataloader:  # noqa: B020  as Avalanche does
            self._unpack_minibatch()
            self._before_eval_iteration(**kwargs)
            self._before_eval_forward(**kwargs)
            samples = self.samples
            numbers, draws = range(first, first + len(samples)), range(self._evaluation.draws)
            restored = [restorer.restore(samples.lr, noise_seeds(numbers, k)) for k in draws]
            self.mb_output = torch.cat(restored) if len(restored) > 1 else restored[0]
            first += len(samples)
            self._after_eval_forward(**kwargs)
            self._after_eval_iteration(**kwargs)
