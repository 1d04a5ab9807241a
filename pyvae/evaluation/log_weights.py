"""Importance weights of any pair, per datapoint."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.core.modules import as_before_on_error, evaluation_mode, isolated_param_store
from pyvae.core.rows import check_alike, columns_of, example_of, rows_of
from pyvae.core.tensors import check_tensors, extreme_rows
from pyvae.errors import DataError, NonFiniteError, PairError, errors_as
from pyvae.evaluation.compiled_runner import CompiledRunner
from pyvae.evaluation.particles import Runner, check_weights, choose_runner
from pyvae.inspection.checks import check_data, check_measures
from pyvae.inspection.densities import LogTerms
from pyvae.inspection.enumeration import enumerated_traces
from pyvae.inspection.inspection import Inspection, inspect_pair, takes_missing
from pyvae.inspection.memory import OutputMeter
from pyvae.inspection.nonfinite import first_nonfinite_site
from pyvae.inspection.rows import check_rows
from pyvae.inspection.sites import element_log_probs, stochastic_sites

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
        NonFiniteError: if a density is NaN or +∞, or no draw of a datapoint has a density above zero; it names the
            site, the row and the value.

    References:
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016, equation 8.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> log_weights(vae, torch.rand(7, 5), num_particles=3).shape
        torch.Size([3, 7])
    """
    if not args or not isinstance(args[0], Tensor) or args[0].dim() == 0 or not len(args[0]):
        raise DataError("got no data; expected as first argument a tensor with one row per datapoint")
    check_int("num_particles", num_particles)
    check_tensors([args[i] for i in columns_of(args)], "the data", takes_missing(pair))
    with as_before_on_error(pair):
        inspection = inspect_pair(pair, *example_of(args))
        check_data(inspection)
        check_measures(inspection)
        check_weights(inspection)
        terms = LogTermsMap(inspection, num_particles, max_memory, len(args[0]), checked=True)
        check_rows(inspection, whole=len(args[0]) <= terms.rows)
    return torch.cat(terms(lambda terms: terms.log_weight, args), 1)


class LogTermsMap:
    """The terms of :func:`log_weights`, one slice of the data after another, all particles at once.

    Args:
        inspection: of the pair.
        num_particles: draws per datapoint.
        max_memory: about how many bytes the intermediate results may take.
        size: how many data there will be, if that is known; where they are many, the run of a slice is compiled.
        checked: whether the inspection has seen the most extreme of all data; else those of each batch are tried.
        bounded: whether each draw must have a density above zero, as the ELBO needs; else one of each datapoint's must.

    Attributes:
        rows: how many data there are in a slice.

    Raises:
        PairError: if a site lies outside of the data plate, or guide and model do not have the same latent sites.
    """

    def __init__(
        self,
        inspection: Inspection,
        num_particles: int,
        max_memory: int,
        size: int | None,
        checked: bool,
        bounded: bool = False,
    ) -> None:
        check_int("num_particles", num_particles)
        check_int("max_memory", max_memory)
        self._inspection, self._pair = inspection, inspection.pair
        self._num_particles, self._checked, self._bounded = num_particles, checked, bounded
        self._passed = 0  # rows of earlier calls, by which errors name a row
        bytes_each = _bytes(inspection) // inspection.size
        results = 32 * (1 + len(inspection.latents)) * num_particles
        # few data with all their draws: the guide's networks run once for each of them. Draws in parts of one size,
        # as only slices of full size are compiled
        parts = -(-num_particles // max(1, max_memory // bytes_each))
        self._particles = -(-num_particles // parts)
        self.rows = max(1, max_memory // (bytes_each * self._particles + results))
        runs_as_it_is = inspection.stray or inspection.summed_out
        self._compiles = not runs_as_it_is and bytes_each * (size or 0) * num_particles >= _WORTH_COMPILING
        with inspection.at_rest():
            self._run = choose_runner(inspection, num_particles)

    def __call__(self, reduce: Callable[[LogTerms], T], args: Sequence[Tensor]) -> list[T]:
        """``reduce`` of the terms of every slice of these data.

        Raises:
            PairError, DataError, NonFiniteError: as :func:`log_weights`.
        """
        columns, size = self._inspection.columns, len(args[0])
        if not self._checked:
            self._check(args)
        rows = min(self.rows, size)
        if self._compiles and not isinstance(self._run, CompiledRunner):
            self._run = CompiledRunner(self._pair, self._run, rows, self._particles)
        with evaluation_mode(self._pair), isolated_param_store(self._inspection.stray):
            slices = [slice(start, start + rows) for start in range(0, size, rows)]
            results = [reduce(self._slice(rows_of(args, some, columns), some)) for some in slices]
        self._passed += size
        return results

    def _check(self, args: Sequence[Tensor]) -> None:
        """Try the pair on the most extreme rows of a batch, to refuse those that do not fit it."""
        columns = self._inspection.columns
        check_alike(args, self._inspection.arguments, "a batch")
        data = [args[i] for i in columns]
        check_tensors(data, "the data", takes_missing(self._pair))
        check_data(inspect_pair(self._pair, rows_of(args, extreme_rows(data), columns), columns))

    def _slice(self, batch: Sequence[Tensor], rows: slice) -> LogTerms:
        """The terms of these rows, which are finite."""
        state = torch.random.get_rng_state()
        terms = self._terms(batch, rows, self._run)
        row = self._first_bad(terms.log_weight)
        if row is not None:
            torch.random.set_rng_state(state)
            self._refuse(batch, rows, row)
        return terms

    def _first_bad(self, log_weight: Tensor) -> int | None:
        """The first datapoint that has no finite figure."""
        impossible = log_weight == -torch.inf
        bad = (impossible.any(0) if self._bounded else impossible.all(0)) | ~(log_weight < torch.inf).all(0)
        return int(bad.nonzero()[0]) if bad.any() else None

    def _refuse(self, batch: Sequence[Tensor], rows: slice, row: int) -> None:
        """Run the slice once more, on the same random stream if it is the processor's, and say what is not finite.

        Raises:
            NonFiniteError: naming site, row and value.
        """
        run = self._run.eager if isinstance(self._run, CompiledRunner) else self._run

        def look(guide: Trace, model: Trace) -> None:
            plate, size = self._inspection.plate[0], len(batch[0])
            if culprit := first_nonfinite_site(guide, model, plate, size, row, self._passed + rows.start):
                raise NonFiniteError(str(culprit))

        self._terms(batch, rows, partial(run, look=look))
        raise NonFiniteError(f"the weights of row {row + self._passed + rows.start} are not finite in some draws")

    def _terms(self, batch: Sequence[Tensor], rows: slice, run: Runner) -> LogTerms:
        """The terms of these rows, so many particles at a time as memory allows."""
        size, total, particles = len(batch[0]), self._num_particles, self._particles
        block: Tensor | None = None
        names: list[str] = []
        first = self._passed + rows.start
        last = first + size - 1
        with errors_as(PairError, f"{type(self._pair).__name__} failed on rows {first} to {last}"):
            for start in range(0, total, particles):
                some = slice(start, min(start + particles, total))
                part = run(self._pair, batch, some.stop - some.start)
                if block is None:
                    # one for all results: small ones, kept between large ones that are freed, would fragment the memory
                    names = list(part.latents)
                    block = part.reconstruction.new_empty(1 + len(names), total, size)
                block[0, some] = part.reconstruction
                for index, name in enumerate(names, 1):
                    block[index, some] = part.latents[name]
        return LogTerms(block[0], dict(zip(names, block[1:], strict=True)))


def _bytes(inspection: Inspection) -> int:
    """What a run takes: the outputs of modules, and four float64 numbers per element of each site.

    These are its value, parameters, log density and the terms of that.
    """
    traces, outputs = (inspection.guide, inspection.model), inspection.output_bytes
    if inspection.summed_out:
        with inspection.at_rest(), OutputMeter(inspection.pair) as meter:
            traces = enumerated_traces(inspection.pair, inspection.arguments, inspection.max_plate_nesting)
            sizes = [element_log_probs(s)[0].numel() for t in traces for s in stochastic_sites(t).values()]
        return meter.bytes + 32 * sum(sizes)
    values = (s["value"] for t in traces for s in stochastic_sites(t).values())
    return outputs + sum(32 * v.numel() for v in values if isinstance(v, Tensor))
