"""Comparison of several pairs by the probability that they give held-out data, with its uncertainty."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import nn

from pyvae.batching.batches import Data, batches_for, inspect_data
from pyvae.core.arguments import check_int
from pyvae.core.random_streams import derive_seed, isolated_rng, seeded_rng
from pyvae.errors import ArgumentError, DataError, NonFiniteError, PairError
from pyvae.evaluation.estimates import Estimate, elbo_estimate, likelihood_estimate
from pyvae.evaluation.evaluate import check_bound, has_weights, joined
from pyvae.evaluation.log_weights import DEFAULT_MEMORY, LogTermsMap
from pyvae.inspection.base_measures import observed_kinds
from pyvae.inspection.densities import LogTerms
from pyvae.inspection.inspection import Inspection

if TYPE_CHECKING:  # to import it takes as long as torch
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Difference", "compare"]

_ROWS = 4096


@dataclass(frozen=True)
class Difference:
    """A pair's mean log p̂(x) minus that of the best one, on the same data, in nats per datapoint.

    Attributes:
        value: the mean over the data; not positive.
        standard_error: of the mean, from its spread over the data; it includes the Monte Carlo error.
        monte_carlo_standard_error: the part that more particles would reduce.
        error_is_at_least: whether this part is a lower limit only, as few draws make all of it.

    Example:
        >>> Difference(-0.3, standard_error=0.1, monte_carlo_standard_error=0.02).exceeds
        True
    """

    value: float
    standard_error: float
    monte_carlo_standard_error: float
    error_is_at_least: bool = False

    @property
    def exceeds(self) -> bool:
        """Whether the difference is more than 2 standard errors."""
        return abs(self.value) > 2 * self.standard_error

    @property
    def error_text(self) -> str:
        """The Monte Carlo error as it is printed; "at least" where it is a lower limit only."""
        return f"{'at least ' if self.error_is_at_least else ''}{self.monte_carlo_standard_error:.3f}"


@dataclass(frozen=True, repr=False)
class Comparison:
    """Pairs by their mean log p̂(x) on the same held-out data, the best first.

    Attributes:
        estimates: log p̂(x) of each datapoint, by the name of the pair.
        bounds: the kind of estimate, by name: L_S, the importance-weighted bound of S samples, or the ELBO of a guide
            that has no importance weights.
        seed: of the samples.

    Example:
        >>> import torch
        >>> errors = torch.zeros(3).double()
        >>> log_p = {"a": torch.tensor([-1.0, -2.0, -3.0]), "b": torch.tensor([-2.0, -2.5, -4.0])}
        >>> estimates = {name: Estimate(values.double(), errors, num_particles=10) for name, values in log_p.items()}
        >>> comparison = Comparison(estimates, {"a": "L_10", "b": "L_10"}, seed=0)
        >>> print(comparison)
          bound log p̂(x) ± data   ± MC difference ± data   ± MC
        a  L_10    -2.000  0.577  0.000      0.000  0.000  0.000
        b  L_10    -2.833  0.601  0.000     -0.833  0.167  0.000
        <BLANKLINE>
        'a' gives a datapoint exp(0.833) times the probability (density) that 'b' gives it, in the geometric mean: ...
    """

    estimates: dict[str, Estimate]
    bounds: dict[str, str]
    seed: int

    @property
    def best(self) -> str:
        """The name of the pair with the highest mean."""
        return next(iter(self.estimates))

    def difference(self, name: str) -> Difference:
        """The paired difference of a pair to the best.

        Raises:
            ArgumentError: if there is no pair of this name.
        """
        if name not in self.estimates:
            raise ArgumentError(f"there is no pair {name!r}; the pairs are {list(self.estimates)}")
        if name == self.best:
            return Difference(0.0, 0.0, 0.0)
        paired = self.estimates[name].minus(self.estimates[self.best])
        return Difference(paired.value, paired.dataset_standard_error, paired.standard_error, paired.error_is_at_least)

    @property
    def verdict(self) -> str:
        """One sentence on the difference between the best and the next one."""
        second = list(self.estimates)[1]
        gap = self.difference(second)
        if len(self.estimates[second].per_datapoint) == 1:
            return f"A single datapoint has no standard error: {self.best!r} cannot be distinguished from {second!r}."
        clear = "more" if gap.exceeds else "not more"
        end = "" if gap.exceeds else ", so that these data do not distinguish the two"
        return (
            f"{self.best!r} gives a datapoint exp({abs(gap.value):.3g}) times the probability (density) that "
            f"{second!r} gives it, in the geometric mean: the difference, {abs(gap.value):.3g} nats, is {clear} than 2 "
            f"standard errors ({2 * gap.standard_error:.2g}){end}."
        )

    @property
    def cautions(self) -> list[str]:
        """A sentence on each estimate whose Monte Carlo error is a lower limit only."""
        return [f"Of {name!r}: {e.caution}." for name, e in self.estimates.items() if e.caution]

    def figures(self) -> dict[str, Any]:
        """All figures as plain numbers, by name of the pair."""
        rows = {}
        for name, estimate in self.estimates.items():
            gap = self.difference(name)
            rows[name] = {
                "bound": self.bounds[name],
                "log_likelihood": estimate.value,
                "log_likelihood_standard_error": estimate.standard_error,
                "log_likelihood_error_is_at_least": estimate.error_is_at_least,
                "log_likelihood_dataset_standard_error": estimate.dataset_standard_error,
                "difference": gap.value,
                "difference_standard_error": gap.monte_carlo_standard_error,
                "difference_error_is_at_least": gap.error_is_at_least,
                "difference_dataset_standard_error": gap.standard_error,
                "exceeds_2_standard_errors": gap.exceeds,
            }
        return rows

    def to_dataframe(self) -> pd.DataFrame:
        """The :meth:`figures` as a table, one row for each pair."""
        return pd.DataFrame.from_dict(self.figures(), orient="index").rename_axis("pair")

    def plot(self) -> "Figure":
        """The differences from the best pair, with bars of 2 standard errors."""
        from pyvae.pages.results import draw_differences

        gaps = [self.difference(name) for name in self.estimates]
        unit = f"difference from {self.best} in nats per datapoint"
        return draw_differences(list(self.estimates), [g.value for g in gaps], [g.standard_error for g in gaps], unit)

    def _repr_html_(self) -> str:
        from pyvae.pages.snippet import snippet

        heads = ("pair", "bound", "log p̂(x)", "difference", "test-set sampling error", "Monte Carlo error")
        gaps = {name: self.difference(name) for name in self.estimates}
        rows = [
            (name, self.bounds[name], f"{self.estimates[name].value:.3f}", f"{gap.value:.3f}",
             f"{gap.standard_error:.3f}", gap.error_text)
            for name, gap in gaps.items()
        ]  # fmt: skip
        title = "Comparison in nats per datapoint, the best first"
        return snippet(title, heads, rows, [self.verdict, *self.cautions], self.plot())

    def __str__(self) -> str:
        head = ["bound", "log p̂(x)", "± data", "± MC", "difference", "± data", "± MC"]
        rows = []
        for name, estimate in self.estimates.items():
            gap = self.difference(name)
            rows.append([
                self.bounds[name],
                f"{estimate.value:.3f}",
                f"{estimate.dataset_standard_error:.3f}",
                estimate.error_text(),
                f"{gap.value:.3f}",
                f"{gap.standard_error:.3f}",
                gap.error_text,
            ])  # fmt: skip
        table = pd.DataFrame(rows, list(self.estimates), head)
        return f"{table.to_string()}\n\n{' '.join([self.verdict, *self.cautions])}"

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.estimates)}: {self.verdict}>"


def compare(
    pairs: Mapping[str, nn.Module],
    data: Data,
    num_particles: int = 100,
    seed: int | None = None,
    max_memory: int = DEFAULT_MEMORY,
) -> Comparison:
    r"""Compare pairs by their mean log likelihood of held-out data, with standard errors of the paired differences.

    .. math:: \bar d = \frac 1N \sum_n [\log \hat p_A(x_n) - \log \hat p_B(x_n)], \qquad
        \mathrm{SE}(\bar d) = \mathrm{sd}_n(d_n) / \sqrt N

    log p̂ is the importance-weighted bound L_S of :func:`pyvae.log_likelihood`, of S samples, or the ELBO where a
    guide, such as that of a vector-quantized VAE, has no importance weights. All pairs see the same data, a random
    transform of them included, so that the difficulty of a datapoint drops out of the difference. The samples of z are
    independent.

    The standard error over the data contains the Monte Carlo error, which is reported beside it, as "at least"
    where it rests on few draws, as for :func:`pyvae.log_likelihood`. Neither contains the gap between bound and
    log p(x), which is larger for a poor guide, nor the variation between training runs. Pairs that take
    labels are compared as they are: a conditional one by log p(x | y), a :class:`pyvae.SemiSupervisedVAE` by
    log p(x, y) where y is known.

    Args:
        pairs: two or more, by name.
        data: held-out data, as for :func:`pyvae.fit`, in the form that all of the pairs take.
        num_particles: the number S of draws per datapoint.
        seed: of all draws; without one, as for :func:`pyvae.fit`.
        max_memory: about how many bytes the intermediate results may take.

    Returns:
        A :class:`Comparison`; ``print`` shows it as a table with a sentence on what it means.

    Raises:
        PairError: if the pairs' likelihoods are of different kinds, such as a density and a probability of grey
            levels; else as :func:`pyvae.evaluate`.
        DataError, ArgumentError: as :func:`pyvae.evaluate`; if there are fewer than two pairs.

    References:
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016, equation 8; Vehtari, Gelman and
        Gabry, *Practical Bayesian model evaluation*, 2017, section 5.2 (the standard error of a paired difference).

    Example:
        >>> import pyvae
        >>> import torch
        >>> pairs = {f"{d} latents": pyvae.recipes.gaussian(shape=(5,), latent_dim=d, hidden=[8]) for d in (1, 2)}
        >>> comparison = compare(pairs, torch.rand(50, 5).round(), seed=0)
        >>> comparison.difference(comparison.best).value
        0.0
        >>> comparison.to_dataframe().shape
        (2, 10)
    """
    if not isinstance(pairs, Mapping) or len(pairs) < 2 or not all(isinstance(name, str) for name in pairs):
        came = f"{len(pairs)} of them" if isinstance(pairs, Mapping) else f"a {type(pairs).__name__}"
        raise ArgumentError(f"pairs is {came}; expected a dict with two or more pairs by name")
    check_int("num_particles", num_particles)
    inspections = _inspected(pairs, data)
    weighted = {name: has_weights(inspection) for name, inspection in inspections.items()}
    with seeded_rng(seed) as seed:
        batches = batches_for(next(iter(pairs.values())), data, _ROWS)
        size, checked = batches.size(), batches.in_memory
        maps = {
            n: LogTermsMap(i, num_particles, max_memory, size, checked, bounded=not weighted[n])
            for n, i in inspections.items()
        }
        parts: dict[str, list[Estimate]] = {name: [] for name in pairs}
        for index, batch in enumerate(batches.in_order()):
            for name, inspection in inspections.items():
                args = [a.to(inspection.device) for a in batch]
                with isolated_rng(derive_seed(seed, index, zlib.crc32(name.encode()))):
                    try:
                        parts[name] += maps[name](lambda t, name=name: _estimate(t, weighted[name]), args)
                    except NonFiniteError as error:
                        raise NonFiniteError(f"pair {name!r}: {error}") from error
    whole = {name: joined(some) for name, some in parts.items()}
    ranked = dict(sorted(whole.items(), key=lambda item: item[1].value, reverse=True))
    return Comparison(ranked, {n: f"L_{num_particles}" if weighted[n] else "ELBO" for n in ranked}, seed)


def _inspected(pairs: Mapping[str, nn.Module], data: Data) -> dict[str, Inspection]:
    """The inspection of each pair; refuses pairs that cannot be compared."""
    inspections, first = {}, None
    for name, pair in pairs.items():
        try:
            inspection = inspect_data(pair, batches_for(pair, data, _ROWS))
            check_bound(inspection)
        except (PairError, DataError) as error:
            raise type(error)(f"pair {name!r}: {error}") from error
        inspections[name], kinds = inspection, observed_kinds(inspection)
        if first is None:
            first = name, kinds
        if kinds != first[1]:
            raise PairError(
                f"{first[0]!r} gives each datapoint {_told(first[1])}, but {name!r} {_told(kinds)}: their logarithms "
                "are in different units, and their difference says nothing; compare pairs with likelihoods of one kind"
            )
    return inspections


def _told(kinds: Mapping[str, float]) -> str:
    return " and ".join(f"{kind} for {count:g} numbers" for kind, count in kinds.items())


def _estimate(terms: LogTerms, weighted: bool) -> Estimate:
    """The estimate that is compared; in main memory, as pairs may be on different devices."""
    found = likelihood_estimate(terms.log_weight) if weighted else elbo_estimate(terms.reconstruction, terms.latents)
    return found.cpu()
