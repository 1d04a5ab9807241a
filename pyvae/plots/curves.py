"""Learning curves."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from matplotlib.figure import Figure

from pyvae.errors import ArgumentError
from pyvae.pages.charts import TERMS, draw_charts, training_charts

__all__ = ["curves"]


class HasHistory(Protocol):
    """What has a history, such as :class:`pyvae.FitResult`."""

    history: list[dict[str, float]]


def curves(result: HasHistory | Sequence[Mapping[str, float]], terms: Sequence[str] = tuple(TERMS)) -> Figure:
    """Plot the ELBO and its terms over the epochs, of training and validation, in nats per datapoint.

    Args:
        result: of :func:`pyvae.fit`, or its history: one row of metrics per epoch.
        terms: which columns of the history, without their split; ``elbo``, ``reconstruction`` and ``kl`` by default,
            and of a hierarchy, for example, ``kl_z_1``.

    Raises:
        ArgumentError: if there are no epochs, or no such columns.

    Example:
        >>> import torch, pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> result = pyvae.fit(vae, torch.rand(50, 5).round(), epochs=2, seed=0, progress=False)
        >>> len(curves(result).axes)
        3
    """
    history = getattr(result, "history", result)
    charts = training_charts(history, {term: TERMS.get(term, term) for term in terms}) if history else []
    if not charts:
        named = sorted({name.partition("_")[2] for row in history[:1] for name in row if name.startswith("train_")})
        raise ArgumentError(f"nothing to plot: the terms are {list(terms)}; the history has {named or 'no epochs'}")
    return draw_charts(charts)
