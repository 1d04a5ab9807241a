"""Importance weights of any pair, per datapoint."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from pyvae.batching.rows import PROBE_ROWS, columns_of, rows_of
from pyvae.core.arguments import check_int
from pyvae.core.modules import evaluation_mode, isolated_param_store
from pyvae.core.tensors import check_tensors, extreme_rows
from pyvae.errors import RUN_ERRORS, DataError, PairError, PyvaeError
from pyvae.evaluation.compiled_runner import CompiledRunner
from pyvae.evaluation.particles import Runner, check_weights, choose_runner
from pyvae.inspection.checks import check_data
from pyvae.inspection.densities import LogTerms
from pyvae.inspection.inspection import Inspection, inspect_pair, takes_missing
from pyvae.inspection.plates import check_sites
from pyvae.inspection.sites import stochastic_sites

__all__ = ["DEFAULT_MEMORY", "LogTermsMap", "log_weights"]

T = TypeVar("T")
DEFAULT_MEMORY = 2**27  # more does not run faster: the processor's cache holds little of it
_WORTH_COMPILING = 2**34  # bytes of intermediate results: some ten seconds' work without compilation


def log_weights(pair: nn.Module, *args: Tensor, num_particles: int = 1, max_memory: int = DEFAULT_MEMORY) -> Tensor:
    r"""The log importance weights of a pair, for each particle and datapoint.

    .. math:: \log w_{sn} = \log p(x_n, z_{sn}) - \log q(z_{sn} \mid x_n), \qquad z_{sn} \sim q(z \mid x_n)

    In nats, unscaled (no mini-batch or annealing factor), summed in float64, vectorized over particles; works on any
    pair whose sites all lie in the data plate. Factors count as Pyro's objectives count them, those of the guide as
    part of log q. The pair runs in evaluation mode, without gradients.

    Args:
        pair: a module with ``model`` and ``guide``.
        args: the arguments of both programs; the first is a tensor of N datapoints, and every other tensor of N rows is
            taken to have one row per datapoint as well.
        num_particles: the number S of samples per datapoint.
        max_memory: about how many bytes the intermediate results may take.

    Returns:
        log w, of shape (S, N), float64.

    Raises:
        PairError: if a site lies outside the data plate, or guide and model do not have the same latent sites.
        DataError: if there are no data.
        ArgumentError: if ``num_particles`` or ``max_memory`` is not positive.

    References:
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016, equation 8.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> log_weights(vae, torch.rand(7, 5), num_particles=3).shape
        torch.Size([3, 7])
    """
    size = len(args[0]) if args and isinstance(args[0], Tensor) and args[0].dim() else None
    terms = LogTermsMap(pair, num_particles, max_memory, size, weights=True)
    return torch.cat(terms(lambda terms: terms.log_weight, args), 1)


class LogTermsMap:
    """The terms of :func:`log_weights`, one slice of the data after another, all particles at once.

    Args:
        pair: a module with ``model`` and ``guide``.
        num_particles: samples per datapoint.
        max_memory: about how many bytes the intermediate results may take.
        size: the number of datapoints, if known; where it is large, the run of a slice is compiled.
        weights: whether importance weights are wanted, which some pairs do not have.
    """

    def __init__(
        self, pair: nn.Module, num_particles: int, max_memory: int, size: int | None, weights: bool = False
    ) -> None:
        check_int("num_particles", num_particles)
        check_int("max_memory", max_memory)
        self._pair, self._num_particles, self._max_memory, self._size = pair, num_particles, max_memory, size
        self._weights = weights
        self._compiled: CompiledRunner | None = None
        self._columns: tuple[int, ...] | None = None

    def __call__(self, reduce: Callable[[LogTerms], T], args: Sequence[Tensor]) -> list[T]:
        """``reduce`` of the terms of every slice of these data.

        Raises:
            PairError, DataError: as :func:`log_weights`.
        """
        if not args or not isinstance(args[0], Tensor) or args[0].dim() == 0 or not len(args[0]):
            raise DataError("got no data; expected as first argument a tensor with one row per datapoint")
        size = len(args[0])
        # as in the first batch: a constant may be as long as the last one
        columns = self._columns = self._columns or columns_of(args)
        data = [args[i] for i in columns]
        check_tensors(data, "the data", takes_missing(self._pair))
        check_data(inspect_pair(self._pair, rows_of(args, extreme_rows(data), columns)))
        probe = rows_of(args, slice(PROBE_ROWS), columns)
        with _Meter(self._pair) as meter:
            inspection = inspect_pair(self._pair, probe)
        if self._weights:
            check_weights(inspection)
        plate = check_sites(inspection, len(probe[0]))
        bytes_each = (meter.bytes + _site_bytes(inspection)) // len(probe[0])
        results = 32 * (1 + len(inspection.latents)) * self._num_particles
        # few datapoints with all their particles: the guide's networks run once for each. Parts have one size,
        # as only slices of full size are compiled
        parts = -(-self._num_particles // max(1, self._max_memory // bytes_each))
        particles = -(-self._num_particles // parts)
        rows = max(1, min(size, self._max_memory // (bytes_each * particles + results)))
        with evaluation_mode(self._pair), isolated_param_store(inspection.stray):
            run = choose_runner(self._pair, probe, columns, self._num_particles, plate, inspection)
            if not inspection.stray and bytes_each * (self._size or 0) * self._num_particles >= _WORTH_COMPILING:
                self._compiled = self._compiled or CompiledRunner(self._pair, run, rows, particles)
                run = self._compiled
            slices = [slice(start, start + rows) for start in range(0, size, rows)]
            return [reduce(self._slice(run, rows_of(args, some, columns), some, particles)) for some in slices]

    def _slice(self, run: Runner, batch: Sequence[Tensor], rows: slice, particles: int) -> LogTerms:
        """The terms of these rows, in parts of this number of particles."""
        size, total = len(batch[0]), self._num_particles
        block: Tensor | None = None
        names: list[str] = []
        try:
            for first in range(0, total, particles):
                some = slice(first, min(first + particles, total))
                part = run(self._pair, batch, some.stop - some.start)
                if block is None:
                    # one for all results: small ones, kept between large ones that are freed, would fragment the memory
                    names = list(part.latents)
                    block = part.reconstruction.new_empty(1 + len(names), total, size)
                block[0, some] = part.reconstruction
                for index, name in enumerate(names, 1):
                    block[index, some] = part.latents[name]
        except RUN_ERRORS as error:
            if isinstance(error, PyvaeError):
                raise
            last = rows.start + size - 1
            raise PairError(f"{type(self._pair).__name__} failed on rows {rows.start} to {last}: {error}") from error
        return LogTerms(block[0], dict(zip(names, block[1:], strict=True)))


class _Meter:
    """Counts the bytes that the submodules of a pair put out, as a measure of what a run takes."""

    def __init__(self, pair: nn.Module) -> None:
        self.bytes = 0
        self._modules = list(pair.modules()) if isinstance(pair, nn.Module) else []

    def __enter__(self) -> "_Meter":
        self._handles = [m.register_forward_hook(self._count) for m in self._modules]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _count(self, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            self.bytes += output.numel() * output.element_size()


def _site_bytes(inspection: Inspection) -> int:
    """Four float64 numbers per element of each site: its value, parameters, log density and the terms of that."""
    traces = (inspection.guide, inspection.model)
    values = (s["value"] for t in traces for s in stochastic_sites(t).values())
    return sum(32 * v.numel() for v in values if isinstance(v, Tensor))
