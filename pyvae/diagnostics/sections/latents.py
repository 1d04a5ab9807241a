"""The information in each latent dimension: its KL divergence and its activity."""

import math
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from pyvae.diagnostics.sections.section import Finding, Picture, Section
from pyvae.diagnostics.sections.subject import FEWEST, Subject
from pyvae.inspection.sites import unwrapped
from pyvae.latent_space.posterior_means import robust_moments

__all__ = ["latents"]

_ROWS, _DRAWS = 1000, 10
_ACTIVE, _SURE = 0.01, 4  # standard errors
_EPSILON, _DELTA = 0.01, 0.01
_TITLE = "Which latents are used?"
_LISTED = 12
_LUCAS = "Lucas, Tucker, Grosse and Norouzi, Don't blame the ELBO!, 2019"


def latents(subject: Subject) -> Section:
    r"""The KL divergence and the activity of each latent dimension, and whether it has collapsed to the prior.

    .. math:: \mathrm{KL}_d = E_x \mathrm{KL}(q(z_d \mid x) \,\|\, p(z_d)), \qquad
        A_d = \frac{\mathrm{Var}_x E_q[z_d]}{\mathrm{Var}_p z_d}, \qquad
        P_x(\mathrm{KL}_d < \varepsilon) \ge 1 - \delta \text{ if collapsed}

    In a chain, terms are conditional on the latents before, averaged over samples. For pairs with a context, A_d is the
    variance of E_q[z_d] − E_p[z_d], so that information from the context does not count as activity. All are over the
    datapoints of which z_d is not masked; a dimension with fewer than 20 of them is left out.
    """
    if reason := subject.no_draws() or subject.too_few():
        return Section(_TITLE, skipped=reason)
    args = subject.rows(_ROWS)
    with subject.at_rest(1):
        runs = [_of_run(subject, args) for _ in range(_DRAWS)]
        prior = subject.draw_model(args)
    rows = []
    for name in subject.encoded:
        kl = _averaged([run[name].kl for run in runs])
        site = prior.nodes[name]
        spread = _prior_variance(runs[0][name], subject.matrix(site["value"], site))
        activity, error = (v / spread for v in _activity(torch.stack([run[name].centred for run in runs])))
        active = (activity > _ACTIVE) & (activity > _SURE * error)
        judged = kl is not None and runs[0][name].exact
        for index, share in enumerate(runs[0][name].share.tolist()):
            if share * len(args[0]) < FEWEST:
                continue
            rows.append(
                {
                    "site": name,
                    "dimension": index,
                    "kl": math.nan if kl is None else float(kl[:, index].nanmean()),
                    "activity": float(activity[index]),
                    "active": bool(active[index]),
                    "collapsed": judged and float((kl[:, index] < _EPSILON).double().mean()) >= (1 - _DELTA) * share,
                    "judged": judged,
                    "share": share,
                }
            )
    if not rows:
        return Section(_TITLE, skipped=f"fewer than {FEWEST} datapoints have a latent that is not masked")
    table = pd.DataFrame(rows)
    pictures = (
        Picture(
            "KL of each latent dimension",
            "From the largest to the smallest, in nats: a dimension at 0 carries no information about the data.",
            lambda: _draw(table),
        ),
    )
    return Section(_TITLE, tuple(_figures(table)), pictures if table["kl"].notna().any() else (), table)


@dataclass(frozen=True)
class _Site:
    """A latent in one run.

    Attributes:
        centred: E_q[z], less E_p[z] where the model has a context, (N, D).
        kl: the divergences, (N, D), or at the draw what they are on average; None if elements depend on each other.
        exact: whether these are divergences, and not what they are on average.
        share: of the datapoints of which each element counts, (D,); the others have NaN in its place.
        variance: that of p, (N, D), where there is a formula.
    """

    centred: Tensor
    kl: Tensor | None
    exact: bool
    share: Tensor
    variance: Tensor | None


def _of_run(subject: Subject, args: tuple[Tensor, ...]) -> dict[str, _Site]:
    guide, model = subject.traces(args)
    order = [name for name in guide.nodes if name in subject.inspection.latents]
    found = {}
    for place, name in enumerate(subject.inspection.latents):
        if name not in subject.encoded:
            continue
        q, p, z = guide.nodes[name]["fn"], model.nodes[name]["fn"], guide.nodes[name]["value"]
        # p is given latents that were drawn knowing this one: then its average over z is no divergence
        backwards = any(order.index(n) > order.index(name) for n in subject.inspection.latents[:place])
        kl, exact = _elementwise(unwrapped(q), unwrapped(p), z, backwards)
        mean = _moment(q, "mean", z)
        centre, expected = z if mean is None else mean, _moment(p, "mean", z) if place == 0 else None
        if len(subject.inspection.columns) > 1 and expected is not None:
            centre = centre - expected
        variance = _moment(p, "variance", z) if place == 0 else None
        site = guide.nodes[name]
        share = 1 - subject.matrix(torch.zeros_like(z), site).isnan().double().mean(0)
        centre, kl, variance = (None if v is None else subject.matrix(v, site) for v in (centre, kl, variance))
        found[name] = _Site(centre, kl, exact, share, variance)
    return found


def _moment(distribution: Distribution, name: str, z: Tensor) -> Tensor | None:
    """The mean or the variance, or None where there is no formula."""
    try:
        return getattr(distribution, name).expand_as(z)
    except NotImplementedError:
        return None


def _averaged(parts: list[Tensor | None]) -> Tensor | None:
    return None if parts[0] is None else torch.stack(parts).mean(0)


def _prior_variance(site: _Site, drawn: Tensor) -> Tensor:
    """Var_p z_d, (D,): by formula, averaged over contexts, or of samples (N, D); by their quartiles if p has none."""
    variance = _variance(drawn) if site.variance is None else site.variance.nanmean(0)
    if (unknown := ~variance.isfinite() & ~drawn.isnan().all(0)).any():
        variance[unknown] = robust_moments(drawn[:, unknown])[1].square()
    return variance.clamp(min=torch.finfo(torch.float32).tiny)


def _variance(values: Tensor) -> Tensor:
    """The variance over rows of what is not NaN, (D,)."""
    return (values - values.nanmean(0)).square().nansum(0) / ((~values.isnan()).sum(0) - 1)


def _activity(means: Tensor) -> tuple[Tensor, Tensor]:
    """Var_x E_q[z] from the means of several runs, (R, N, D), less what their average has of the runs' own noise.

    And the standard error that is left of that noise, (D,).
    """
    noise, count = means.var(0).nanmean(0) / len(means), (~means[0].isnan()).sum(0)
    return (_variance(means.mean(0)) - noise).clamp(min=0), noise * (2 / (count - 1)) ** 0.5


def _elementwise(q: Distribution, p: Distribution, z: Tensor, at_draw: bool) -> tuple[Tensor | None, bool]:
    """KL of each element and whether it is one, or the log ratio at a draw; None if elements depend on each other."""
    if q.event_shape or p.event_shape:
        return None, False
    if not at_draw:
        with suppress(NotImplementedError):
            return kl_divergence(q, p).expand_as(z), True
    return (q.log_prob(z) - p.log_prob(z)).expand_as(z), False


def _figures(table: pd.DataFrame) -> list[Finding]:
    nats = table["kl"] * table["share"]  # those of a masked element are none
    active, total, told = int(table["active"].sum()), len(table), float(nats.sum())
    if told > 1:
        advice = f"though the KL is {told:.1f} nats: the prior is far wider than the data's latents; take a learned one"
    else:
        advice = "no latent depends on the data: the posterior has collapsed; warm up the KL (WeightedELBO with WarmUp)"
    figures = [
        Finding(
            "active dimensions",
            active,
            f"of {total}: their posterior mean varies with x, by {_ACTIVE:.0%} of the prior's variance or more",
            threshold="at least 1",
            source="Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016, section 5",
            advice="" if active else advice,
        )
    ]
    if table["judged"].any():
        collapsed, judged = int(table["collapsed"].sum()), int(table["judged"].sum())
        advice = f"{collapsed} of {judged} dimensions are unused: take fewer, or free bits, which put them to use"
        figures.append(
            Finding(
                "collapsed dimensions",
                collapsed,
                f"of {judged}: their posterior is within {_EPSILON} nats of the prior for {1 - _DELTA:.0%} of the data",
                threshold="at most half",
                source=_LUCAS,
                advice=advice if collapsed > judged / 2 and active else "",
            )
        )
    sums = nats.groupby(table["site"], sort=False).sum(min_count=1).dropna()
    if 1 < len(sums) <= _LISTED:
        figures += [
            Finding(f"KL of {name}", float(value), "the information about x in this level of the hierarchy", "nats")
            for name, value in sums.items()
        ]
    return figures


def _draw(table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for name, part in table.groupby("site", sort=False):
        values = part["kl"].sort_values(ascending=False).to_numpy()
        axes.bar(range(len(values)), values, width=0.9, alpha=0.6 if table["site"].nunique() > 1 else 1, label=name)
    axes.axhline(_EPSILON, color="#c77700", linewidth=1)
    axes.set(xlabel="dimension, by rank", ylabel="KL in nats")
    if table["site"].nunique() > 1:
        axes.legend(frameon=False)
    return figure
