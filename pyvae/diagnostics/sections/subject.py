"""A pair and its data, as the sections of a diagnosis take them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.utils.data import DataLoader

from pyvae.batching.batches import Batches, Data, batches_for, inspect_data
from pyvae.core.random_streams import derive_seed, isolated_rng
from pyvae.core.rows import copies, rows_of
from pyvae.errors import DataError
from pyvae.evaluation.evaluate import over_data
from pyvae.evaluation.log_weights import T
from pyvae.inspection.densities import LogTerms
from pyvae.inspection.elements import holds_missing, marked, observes, which_count
from pyvae.inspection.enumeration import refuse_summed_out
from pyvae.inspection.generation import Unobserved, reads_data
from pyvae.inspection.inspection import Inspection, trace_programs
from pyvae.inspection.sites import as_matrix, is_discrete, unwrapped

__all__ = ["FEWEST", "Subject"]

_KEPT = 2048  # rows of which sections take parts
_MOST_SITES = 50
_OUTPUTS = 2**34  # bytes that the modules of a pair may put out for a section: a few seconds of a core
FEWEST = 20  # data from which the variation of a latent can be told


@dataclass(frozen=True)
class Subject:
    """A pair and the data on which it is diagnosed.

    Attributes:
        pair: a module with ``model`` and ``guide``.
        data: all data, as for :func:`pyvae.fit`.
        num_particles: samples per datapoint for importance weights.
        seed: of all samples.
        max_memory: about how many bytes intermediate results may take.
    """

    pair: nn.Module
    data: Data
    num_particles: int
    seed: int
    max_memory: int

    @cached_property
    def batches(self) -> Batches:
        """The data, where the pair is."""
        return batches_for(self.pair, self.data, _KEPT)

    @cached_property
    def kept(self) -> tuple[Tensor, ...]:
        """Up to 2,048 of the datapoints, chosen at random: the arguments of both programs."""
        with isolated_rng(self.seed):
            batches = self.batches
            if not isinstance(batches.source, DataLoader):
                return next(iter(batches.shuffled(self.seed)))
            return _sampled(batches.in_order(), self.inspection.columns)

    @cached_property
    def inspection(self) -> Inspection:
        """A run on a few of the data."""
        inspection = inspect_data(self.pair, self.batches)
        refuse_summed_out(inspection, "a diagnosis")
        return inspection

    @cached_property
    def dim(self) -> int:
        """The dimension of the plate over the data."""
        return self.inspection.plate[1]

    @property
    def drawn(self) -> tuple[str, ...]:
        """The latents that the guide samples with real values; not codes, nor functions of others."""
        return tuple(
            name for name in self.inspection.latents if _is_continuous(self.inspection.guide.nodes[name]["fn"])
        )

    @property
    def encoded(self) -> tuple[str, ...]:
        """The latents of :attr:`drawn` that stand for data, and are no part of them that is missing."""
        return tuple(name for name in self.drawn if not holds_missing(name, self.inspection.model))

    def rows(self, count: int) -> tuple[Tensor, ...]:
        """The arguments for some of the data."""
        return tuple(rows_of(self.kept, slice(count), self.inspection.columns))

    def affordable(self, most: int, least: int, runs: int) -> int:
        """How many datapoints a section takes that runs the programs so often for each: fewer of large networks."""
        inspection = self.inspection
        cost = runs * inspection.output_bytes / len(inspection.arguments[0])
        return max(least, min(most, int(_OUTPUTS / max(cost, 1))))

    def copies(self, args: Sequence[Tensor], count: int) -> list[Tensor]:
        """The arguments with all data so many times over: all rows once, then all again."""
        return copies(args, count, self.inspection.columns)

    @contextmanager
    def at_rest(self, stream: int) -> Iterator[None]:
        """A block on a random stream of its own, with the pair in evaluation mode, that leaves no trace."""
        with self.inspection.at_rest(derive_seed(self.seed, stream)):
            yield

    def traces(self, args: Sequence[Tensor]) -> tuple[Trace, Trace]:
        """A run of the guide, and of the model with the latents that it has drawn."""
        return trace_programs(self.pair, args)

    def over_data(self, reduce: Callable[[LogTerms], T], num_particles: int | None = None) -> list[T]:
        """``reduce`` of the log terms of every slice of all data."""
        count = self.num_particles if num_particles is None else num_particles
        return over_data(reduce, self.inspection, self.batches, count, self.seed, self.max_memory)

    def matrix(self, values: Tensor, site: dict) -> Tensor:
        """Values of the shape of a site's, (N, D) float64, in main memory; NaN where an element does not count."""
        return as_matrix(marked(values, site), site, self.dim).cpu().double()

    def drawn_rows(self, trace: Trace, name: str) -> np.ndarray:
        """The values sampled at a site, (N, D) float64; NaN where an element does not count."""
        return self.matrix(trace.nodes[name]["value"], trace.nodes[name]).numpy()

    def nested(self) -> str:
        """Why datapoints cannot be exchanged one by one; empty if they can."""
        for name in self.inspection.latents:
            shape = tuple(self.inspection.guide.nodes[name]["fn"].batch_shape)
            if len(shape) > 1:
                return f"site {name!r} has batch shape {shape}; expected that of the plate over the data alone"
        return ""

    def too_long(self) -> str:
        """Why a chain of latents cannot be drawn often; empty if it can."""
        count = len(self.inspection.latents)
        return f"a chain of {count} latents is too long to be drawn so often" if count > _MOST_SITES else ""

    def draw_model(self, args: Sequence[Tensor]) -> Trace:
        """A run of the model that samples its observed sites."""
        return poutine.trace(Unobserved()(self.pair.model)).get_trace(*args)

    def drawn_data(self, args: Sequence[Tensor]) -> tuple[Tensor, Tensor, Trace]:
        """Data that the model draws, with the padding and the gaps of the given ones.

        And which of their elements count, and the run in which they were drawn.
        """
        trace, x = self.draw_model(args), args[0]
        site = trace.nodes[self.inspection.observed[0]]
        elements = which_count(site)
        return torch.where(elements, site["value"], x), elements, trace

    def no_data_of_its_own(self) -> str:
        """Why the model cannot draw data like the given ones; empty if it can."""
        observed = self.inspection.observed
        if len(observed) != 1:
            return f"the model observes {list(observed)}; expected one site"
        with self.at_rest(0):
            if not observes(self.inspection.model.nodes[observed[0]], self.inspection.arguments[0]):
                return f"site {observed[0]!r} observes something else than the first argument as it is"
            if reads_data(self.pair, self.inspection.arguments):
                return "the model reads its data other than to observe them, so it cannot draw data of its own"
        return ""

    def too_few(self) -> str:
        """Why the variation of latents over the data cannot be estimated; empty if it can."""
        count = len(self.kept[0])
        return f"got {count} datapoints; expected at least {FEWEST}" if count < FEWEST else ""

    def no_draws(self) -> str:
        """Why sections on continuous latents do not apply; empty if they do."""
        if self.encoded:
            return ""
        return f"the guide of {type(self.pair).__name__} draws no continuous latent: {list(self.inspection.latents)}"


def _sampled(batches: Iterable[Sequence[Tensor]], columns: Collection[int]) -> tuple[Tensor, ...]:
    """Some of the rows that come by, chosen at random: those with the smallest of random keys.

    Raises:
        DataError: if what has no rows is not the same in all batches, so that rows of several cannot be put together.
    """
    keys, chosen = torch.empty(0), ()
    for batch in batches:
        keys = torch.cat([keys, torch.rand(len(batch[0]))])
        kept = keys.argsort()[:_KEPT]
        keys, before, chosen = (
            keys[kept],
            chosen or tuple(a[:0] if i in columns else a for i, a in enumerate(batch)),
            (),
        )
        for index, (old, new) in enumerate(zip(before, batch, strict=True)):
            if index in columns:
                chosen += (torch.cat([old, new])[kept.to(new.device)],)
                continue
            if not torch.equal(old, new):
                raise DataError(
                    f"argument {index} of the programs, of shape {tuple(new.shape)}, has no row per datapoint and "
                    "differs from batch to batch; expected the same in all of them, or a row for each datapoint"
                )
            chosen += (new,)
    return chosen


def _is_continuous(q: Distribution) -> bool:
    return not is_discrete(q) and not isinstance(unwrapped(q), Delta)
