"""What each latent dimension tells of the data: its KL divergence and its activity."""

import pandas as pd
import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from pyvae.diagnostics.sections.section import Figure, Picture, Section
from pyvae.diagnostics.sections.subject import Subject
from pyvae.inspection import unwrapped

__all__ = ["latents"]

_ROWS, _DRAWS = 1000, 10
_ACTIVE = 0.01
_EPSILON, _DELTA = 0.01, 0.01
_TITLE = "Which latents are used?"
_LISTED = 12
_LUCAS = "Lucas, Tucker, Grosse and Norouzi, Don't blame the ELBO!, 2019"


def latents(subject: Subject) -> Section:
    r"""KL_d = E_x KL(q(z_d | x) ‖ p(z_d)), A_d = Var_x E_q[z_d], and whether P_x(KL_d < ε) ≥ 1 − δ: collapse.

    Of a chain, terms are given what was drawn before, averaged over draws.
    """
    if reason := subject.no_draws():
        return Section(_TITLE, skipped=reason)
    args = subject.rows(_ROWS)
    with subject.at_rest(1):
        runs = [_of_run(subject, args) for _ in range(_DRAWS)]
    rows = []
    for name in subject.drawn:
        means = torch.stack([run[name][0] for run in runs])
        divergences = [run[name][1] for run in runs]
        kl = None if divergences[0] is None else torch.stack(divergences).mean(0)
        activity = _activity(means)
        for index in range(activity.numel()):
            rows.append(
                {
                    "site": name,
                    "dimension": index,
                    "kl": torch.nan if kl is None else float(kl[:, index].mean()),
                    "activity": float(activity[index]),
                    "active": bool(activity[index] > _ACTIVE),
                    "collapsed": kl is not None and float((kl[:, index] < _EPSILON).double().mean()) >= 1 - _DELTA,
                }
            )
    table = pd.DataFrame(rows)
    pictures = (
        Picture(
            "KL of each latent dimension",
            "From the largest to the smallest, in nats: a dimension at 0 tells nothing of the data.",
            lambda: _draw(table),
        ),
    )
    return Section(_TITLE, tuple(_figures(table)), pictures if table["kl"].notna().any() else (), table)


def _of_run(subject: Subject, args: tuple[Tensor, ...]) -> dict[str, tuple[Tensor, Tensor | None]]:
    """By site: the means of q, and the KL divergences, (N, D) each."""
    guide, model = subject.traces(args)
    found = {}
    for name in subject.drawn:
        q, p, z = guide.nodes[name]["fn"], model.nodes[name]["fn"], guide.nodes[name]["value"]
        kl = _elementwise(unwrapped(q), unwrapped(p), z)
        found[name] = (_mean(q, z).flatten(1).double(), None if kl is None else kl.flatten(1).double())
    return found


def _mean(q: Distribution, z: Tensor) -> Tensor:
    """E_q[z], or a draw where there is no formula; draws of several runs are averaged."""
    try:
        return q.mean.expand_as(z)
    except NotImplementedError:
        return z


def _activity(means: Tensor) -> Tensor:
    """Var_x E_q[z] from the means of several runs, (R, N, D), less what their average has of the runs' own noise."""
    noise = means.var(0).mean(0) / len(means)
    return (means.mean(0).var(0) - noise).clamp(min=0)


def _elementwise(q: Distribution, p: Distribution, z: Tensor) -> Tensor | None:
    """KL of each element, in closed form or as the log ratio at a draw; None if elements depend on each other."""
    if q.event_shape or p.event_shape:
        return None
    try:
        kl = kl_divergence(q, p)
    except NotImplementedError:
        kl = q.log_prob(z) - p.log_prob(z)
    return kl.expand_as(z)


def _figures(table: pd.DataFrame) -> list[Figure]:
    active, total = int(table["active"].sum()), len(table)
    source = "Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016, section 5"
    advice = "no latent depends on the data: the posterior has collapsed; warm up the KL (WeightedELBO with WarmUp)"
    figures = [
        Figure(
            "active dimensions",
            active,
            f"of {total}: dimensions whose posterior mean varies with x, by more than {_ACTIVE} in variance",
            threshold="at least 1",
            source=source,
            advice="" if active else advice,
        )
    ]
    if table["kl"].notna().any():
        collapsed = int(table["collapsed"].sum())
        many = collapsed > total / 2 and bool(active)
        figures.append(
            Figure(
                "collapsed dimensions",
                collapsed,
                f"of {total}: their posterior is within {_EPSILON} nats of the prior for {1 - _DELTA:.0%} of the data",
                threshold="at most half",
                source=_LUCAS,
                advice=f"{collapsed} of {total} dimensions are not used: fewer would do, or free bits would use them"
                if many
                else "",
            )
        )
    sums = table.groupby("site", sort=False)["kl"].sum(min_count=1).dropna()
    if 1 < len(sums) <= _LISTED:
        figures += [
            Figure(f"KL of {name}", float(value), "what this level of the hierarchy tells of x", "nats")
            for name, value in sums.items()
        ]
    return figures


def _draw(table: pd.DataFrame) -> Drawing:
    figure = Drawing(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for name, part in table.groupby("site", sort=False):
        values = part["kl"].sort_values(ascending=False).to_numpy()
        axes.bar(range(len(values)), values, width=0.9, alpha=0.6 if table["site"].nunique() > 1 else 1, label=name)
    axes.axhline(_EPSILON, color="#c77700", linewidth=1)
    axes.set(xlabel="dimension, by rank", ylabel="KL in nats")
    if table["site"].nunique() > 1:
        axes.legend(frameon=False)
    return figure
