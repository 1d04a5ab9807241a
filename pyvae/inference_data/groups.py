"""The groups of a container, collected from one batch of data after another."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyvae.core.rows import rows_of
from pyvae.errors import ArgumentError, PairError, errors_as
from pyvae.evaluation.arviz_bridge import FEWEST_DRAWS, pareto_smoothed
from pyvae.evaluation.estimates import ELBOEstimate, Estimate, effective_sample_size, elbo_estimate, likelihood_estimate
from pyvae.inference_data.draws import Drawer, GuideDraws
from pyvae.inspection.densities import LogTerms
from pyvae.inspection.inspection import Inspection

__all__ = ["BOUND", "DRAWING", "GroupCollector", "Options", "constant_arguments"]

DRAWING = "where it draws data of its own; pass predictive=None to convert without"
_NUMBERS = 2**20  # of the data in one run; the networks make more of them
_KL, BOUND = "kl_", "importance_weighted_bound"


@dataclass(frozen=True)
class Options:
    """The extent of a conversion.

    Attributes:
        draws: the number S of samples of the guide per datapoint.
        new_draws: how many data sets are drawn from the prior, and from the posterior.
        new_rows: for how many of the datapoints.
        sites: the latents that are kept.
        weighted: whether the guide's densities are importance weights.
        log_likelihood: whether log p(x | z) is kept as such.
        max_memory: the most bytes that the groups may take.
    """

    draws: int
    new_draws: int
    new_rows: int
    sites: tuple[str, ...]
    weighted: bool
    log_likelihood: bool
    max_memory: int

    def check_memory(self, inspection: Inspection, size: int) -> None:
        """Refuse a conversion that would be larger than allowed.

        Raises:
            ArgumentError: listing the sizes of the parts, and what reduces them.
        """
        nodes, rows = inspection.model.nodes, len(inspection.arguments[0])
        latents = sum(_bytes(nodes[name]["value"]) for name in self.sites) / rows
        observed = sum(_bytes(nodes[name]["value"]) for name in inspection.observed) / rows
        data = observed + sum(_bytes(a) for a in inspection.arguments[1:]) / rows
        parts = {
            "the posterior": self.draws * size * latents,
            "its densities": 8 * self.draws * size * (3 + self.log_likelihood * len(inspection.observed)),
            "the data": data * size,
            "the predictive samples": self.new_draws * min(self.new_rows, size) * (latents + 2 * observed),
        }
        if sum(parts.values()) > self.max_memory:
            told = ", ".join(f"{name} {_in_units(part)}" for name, part in parts.items())
            raise ArgumentError(
                f"{_in_units(sum(parts.values()))} would be made of {size} datapoints and {self.draws} samples, more "
                f"than max_memory={self.max_memory} ({_in_units(self.max_memory)}): {told}. Lower num_samples, pass "
                "fewer data, name only some of the latents in sites, or lower predictive; or raise max_memory"
            )


class GroupCollector:
    """A collector of groups: variables of shape (S, N, …) under ``draws``, of shape (N, …) under ``rows``.

    Args:
        pair: a module with ``model`` and ``guide``.
        drawer: what runs it.
        options: how much.
        constants: index and name of the arguments that are kept as they are.
    """

    def __init__(self, pair: nn.Module, drawer: Drawer, options: Options, constants: Mapping[int, str]) -> None:
        self._pair, self._drawer, self._options, self._constants = pair, drawer, options, constants
        self._parts: dict[tuple[str, str], list[Tensor]] = {}
        self.size = 0

    def add(self, args: Sequence[Tensor]) -> None:
        """The next batch of data."""
        size = len(args[0])
        new_rows = max(0, min(self._options.new_rows - self.size, size)) if self._options.new_draws else 0
        with errors_as(PairError, f"{type(self._pair).__name__} failed on rows {self.size} to {self.size + size - 1}"):
            blocks = list(self._blocks(args, new_rows > 0))
        self._keep("posterior", _joined([b.latents for b in blocks]))
        self._keep("observed_data", blocks[0].observed)
        self._keep("constant_data", {name: args[index] for index, name in self._constants.items()})
        reconstruction = torch.cat([b.terms.reconstruction for b in blocks])
        terms = LogTerms(reconstruction, _joined([b.terms.latents for b in blocks]))
        log_joint = torch.cat([b.log_joint for b in blocks])
        log_weight = terms.log_weight
        self._keep("sample_stats", {"lp": log_joint, "log_q": log_joint - log_weight, "log_weight": log_weight})
        self._keep("figures", _figures(terms, self._options.weighted))
        if self._options.log_likelihood:
            self._keep("log_likelihood", _joined([b.log_conditional for b in blocks]))
        if new_rows:
            drawn = _joined([b.new for b in blocks if b.new])
            self._keep("posterior_predictive", {n: v[:, :new_rows].clone() for n, v in drawn.items()})
            self._add_prior(rows_of(args, slice(new_rows), self._drawer.columns))
        self.size += size

    def group(self, name: str) -> dict[str, Tensor]:
        """The variables of a group, over all data; they are returned once, and not kept."""
        found = {}
        for key in [k for k in self._parts if k[0] == name]:
            parts = self._parts.pop(key)
            found[key[1]] = torch.cat(parts, 0 if name in ("observed_data", "constant_data", "figures") else 1)
        return found

    def estimates(self, figures: Mapping[str, Tensor]) -> tuple[ELBOEstimate, Estimate | None]:
        """The ELBO and the importance-weighted bound of all data, from the group of that name."""
        kl_terms = {n.removeprefix(_KL): v for n, v in figures.items() if n.startswith(_KL)}
        count, errors = self._options.draws, figures["elbo_standard_error"]
        elbo = ELBOEstimate(figures["elbo"], errors, count, figures["reconstruction"], kl_terms)
        if not self._options.weighted:
            return elbo, None
        errors, behind = figures[f"{BOUND}_standard_error"], figures[f"{BOUND}_draws_behind_error"]
        return elbo, Estimate(figures[BOUND], errors, count, draws_behind=behind)

    def _blocks(self, args: Sequence[Tensor], new: bool) -> Iterator[GuideDraws]:
        """All samples for a batch, in blocks of the allowed size; new data are drawn with the first of them."""
        at_once, first = max(1, _NUMBERS // max(1, args[0].numel())), 0
        while first < self._options.draws:
            with_new = new and first < self._options.new_draws
            last = self._options.new_draws if with_new else self._options.draws
            count = min(at_once, last - first)
            yield self._drawer.from_guide(args, count, with_new)
            first += count

    def _add_prior(self, args: Sequence[Tensor]) -> None:
        at_once = max(1, _NUMBERS // max(1, args[0].numel()))
        with errors_as(PairError, f"{type(self._pair).__name__} failed {DRAWING}"):
            counts = [min(at_once, self._options.new_draws - i) for i in range(0, self._options.new_draws, at_once)]
            drawn = [self._drawer.from_prior(args, count) for count in counts]
        self._keep("prior", _joined([latents for latents, _ in drawn]))
        self._keep("prior_predictive", _joined([observed for _, observed in drawn]))

    def _keep(self, group: str, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._parts.setdefault((group, name), []).append(value.detach().cpu())


def _figures(terms: LogTerms, weighted: bool) -> dict[str, Tensor]:
    """The figures of each datapoint, (N,)."""
    log_weight = terms.log_weight
    elbo = elbo_estimate(terms.reconstruction, terms.latents)
    found = {
        "elbo": elbo.per_datapoint,
        "elbo_standard_error": elbo.standard_errors,
        "reconstruction": elbo.reconstruction,
        **{f"{_KL}{name}": term for name, term in elbo.kl_terms.items()},
    }
    if weighted:
        bound = likelihood_estimate(log_weight)
        found |= {BOUND: bound.per_datapoint, f"{BOUND}_standard_error": bound.standard_errors}
        found[f"{BOUND}_draws_behind_error"] = bound.draws_behind
        found["effective_sample_size"] = effective_sample_size(log_weight)
        if len(log_weight) >= FEWEST_DRAWS:
            found["pareto_k"] = pareto_smoothed(log_weight)[1]
    return found


def constant_arguments(inspection: Inspection) -> dict[int, str]:
    """Index and name of the arguments with rows, behind the first, that the model does not observe."""
    parameters = list(inspect.signature(inspection.pair.model).parameters.values())
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    observed = [inspection.model.nodes[name]["value"] for name in inspection.observed]
    found = {}
    for index, argument in list(enumerate(inspection.arguments))[1:]:
        if index in inspection.columns and not any(_same(argument, value) for value in observed):
            found[index] = names[index] if index < len(names) else f"argument_{index}"
    return found


def _same(argument: Tensor, value: Tensor) -> bool:
    """Whether an argument is what a site observes, perhaps in another shape."""
    return argument.numel() == value.numel() and torch.allclose(
        argument.double().flatten(), value.double().flatten(), equal_nan=True
    )


def _joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Draws of several blocks, one after another."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _bytes(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


def _in_units(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
