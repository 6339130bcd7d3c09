"""One of several processes that do one thing together, over ``torch.distributed``."""

import dataclasses
from typing import Any

import torch
import torch.distributed as dist


@dataclasses.dataclass(frozen=True)
class Rank:
    """One of the processes that train a policy together; alone, it is the first of one."""

    number: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the first, which decides for all."""
        return self.number == 0

    def share(self, whole: int) -> int:
        """Return this rank's part of so many things: as many as another's, or one more."""
        return whole // self.count + (self.number < whole % self.count)

    def agree(self, go_on: bool = False) -> bool:
        """Return what the first rank says; what the others pass does not count."""
        if self.count == 1:
            return go_on
        flag = torch.tensor([go_on])
        dist.broadcast(flag, src=0)
        return bool(flag)

    def hear(self, value: float) -> float:
        """Return the first rank's number; what the others pass does not count."""
        if self.count == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(number, src=0)
        return float(number)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of all ranks' values."""
        total = values.clone()
        if self.count > 1:
            dist.all_reduce(total)
        return total

    def receive(self, thing: Any) -> Any:
        """Return the first rank's thing, a picklable one."""
        if self.count == 1:
            return thing
        things = [thing if self.leads else None]
        dist.broadcast_object_list(things, src=0)
        return things[0]


ALONE = Rank()
