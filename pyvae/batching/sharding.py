"""The division of an epoch's data among several processes, without repeats."""

from collections.abc import Iterator, Sized
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Sampler

from pyvae.core.random_streams import isolated_rng
from pyvae.errors import DataError

__all__ = ["Shard", "ShardedSampler"]


@dataclass(frozen=True)
class Shard:
    """The part of one process.

    All processes shuffle in the same way; of every run of ``count`` batches each takes its own, so that they train on
    the data, in the order, of one process with batches ``count`` times as large.

    Attributes:
        rank: the number of the process, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def rows(self, order: Tensor, batch_size: int) -> list[Tensor]:
        """The rows of this process's batches; a smaller rest is divided evenly.

        Raises:
            DataError: if there are fewer rows than processes.

        Example:
            >>> import torch
            >>> [rows.tolist() for rows in Shard(rank=1, count=2).rows(torch.arange(11), batch_size=2)]
            [[2, 3], [6, 7], [10]]
            >>> [rows.tolist() for rows in Shard(rank=0, count=2).rows(torch.arange(9), batch_size=2)]
            [[0, 1], [4, 5, 6]]
        """
        if len(order) < self.count:
            raise DataError(f"{len(order)} datapoints for {self.count} processes; expected at least one for each")
        sizes = self.sizes(len(order), batch_size)
        return [chunk.tensor_split(self.count)[self.rank] for chunk in order.split(sizes)]

    def sizes(self, size: int, batch_size: int) -> list[int]:
        """The number of rows that the processes take together, step by step."""
        full, rest = divmod(size, batch_size * self.count)
        sizes = [batch_size * self.count] * full
        if rest >= self.count or not sizes:
            return [*sizes, rest] if rest else sizes
        return [*sizes[:-1], sizes[-1] + rest]  # too few to go round


class ShardedSampler(Sampler[list[int]]):
    """The batches of another sampler that are a process's; an incomplete last round is left out.

    Args:
        batches: the sampler, which must give the same batches in all processes when it is given the same streams.
        shard: the part of this process.
        seed: of the sampler's random streams.
    """

    def __init__(self, batches: Sized, shard: Shard, seed: int) -> None:
        self._batches, self._shard, self._seed = batches, shard, seed

    def __iter__(self) -> Iterator[list[int]]:
        with isolated_rng(self._seed):
            batches = list(self._batches)
        return iter(batches[self._shard.rank :: self._shard.count][: len(self)])

    def __len__(self) -> int:
        return len(self._batches) // self._shard.count
