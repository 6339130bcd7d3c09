"""Optimiser, learning-rate schedule and moving average of the weights (METHOD 2.6)."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from beyondmimic_data.config import DiffusionConfig

BETAS = (0.9, 0.95)


class PolicyOptimiser:
    """AdamW with weight decay on matrices only; or Muon for the matrices of blocks, and AdamW for the rest.

    Muon's updates are scaled to the size of AdamW's, so that one learning rate serves both.
    """

    def __init__(self, denoiser: nn.Module, config: DiffusionConfig) -> None:
        """Sort the parameters; biases, norms and the positional embedding are not decayed."""
        matrices: list[nn.Parameter] = []
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name, parameter in denoiser.named_parameters():
            if parameter.dim() < 2 or name == "position":
                plain.append(parameter)
            elif config.optimiser == "muon" and name.startswith("blocks."):
                matrices.append(parameter)
            else:
                decayed.append(parameter)
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, fused=True)
        self.muon: torch.optim.Muon | None = None
        if matrices:
            self.muon = torch.optim.Muon(
                matrices,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )

    @property
    def parts(self) -> list[torch.optim.Optimizer]:
        """The optimisers; each has parameters of its own."""
        return [self.adamw] if self.muon is None else [self.adamw, self.muon]

    def step(self, rate: float, loss: torch.Tensor) -> None:
        """Change the weights by their gradients, or leave them if the loss () is not finite.

        AdamW looks at the loss on the device, and nothing waits for it; Muon has the host look.
        """
        finite = torch.isfinite(loss)
        if self.muon is not None and not bool(finite):
            return
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
        # The fused kernel reads this on the device, as for torch's GradScaler, and leaves the step out.
        self.adamw.found_inf = (~finite).float()  # type: ignore[attr-defined]
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def moments(self, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
        """Return what is remembered of a parameter, by name; nothing before its first step."""
        found: dict[str, torch.Tensor] = {}
        for part in self.parts:
            found |= {name: torch.as_tensor(value) for name, value in part.state.get(parameter, {}).items()}
        return found

    def restore(self, parameter: nn.Parameter, moments: Mapping[str, torch.Tensor]) -> None:
        """Take up what ``moments`` returned."""
        part: torch.optim.Optimizer = self.adamw
        if self.muon is not None and "momentum_buffer" in moments:
            part = self.muon
        part.state[parameter] = {name: value.to(parameter.device) for name, value in moments.items()}


def learning_rate(config: DiffusionConfig, step: int, done: float, *, warm: bool = False) -> float:
    """Return the learning rate: linear warm-up over steps, times a cosine of the fraction done.

    ``warm``: training began with another policy's weights.
    """
    peak = config.warm_learning_rate if warm else config.learning_rate
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return peak * warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


def time_precisions(
    denoiser: nn.Module, inputs: tuple[torch.Tensor, ...], seconds: float = 1.0
) -> dict[str, float]:
    """Return the seconds that a forward and backward pass takes in ``float32`` and in ``bfloat16``.

    Passes of both alternate for about twice ``seconds``, after one of each that does not count.
    """
    taken: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    device = inputs[0].device.type
    while sum(map(sum, taken.values())) < 2 * seconds:
        for name, times in taken.items():
            began = time.perf_counter()
            with torch.autocast(device, torch.bfloat16, enabled=name == "bfloat16"):
                states, actions = denoiser(*inputs)
            (states.float().square().mean() + actions.float().square().mean()).backward()
            times.append(time.perf_counter() - began)
    denoiser.zero_grad(set_to_none=True)
    return {name: statistics.median(times[1:] or times) for name, times in taken.items()}


class MovingAverage:
    """Exponential moving average of parameters with decay 1 - (1 + step) ** -power, at most a bound."""

    def __init__(self, module: nn.Module, config: DiffusionConfig) -> None:
        """Start at the module's present weights."""
        self.power, self.bound = config.ema_power, config.ema_max
        self.source: list[torch.Tensor] = list(module.parameters())
        self.values = [p.detach().clone() for p in self.source]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Blend in the weights after optimiser step ``step``, counted from zero."""
        decay = min(self.bound, 1 - (1 + step) ** -self.power)
        torch._foreach_lerp_(self.values, self.source, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Write the average into a module of the same shape."""
        write_parameters(module, self.values)


@torch.no_grad()
def write_parameters(module: nn.Module, values: Sequence[torch.Tensor]) -> None:
    """Write values into the parameters of a module, in their order."""
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.copy_(value)
