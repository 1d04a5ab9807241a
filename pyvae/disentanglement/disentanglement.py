"""All measures of a representation whose ground-truth factors are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from pyvae.batching.batches import Data
from pyvae.batching.order import check_order
from pyvae.core.random_streams import seeded_rng
from pyvae.disentanglement.factors import checked_codes, checked_factors
from pyvae.disentanglement.probes import DCI, dci, linear_probe
from pyvae.disentanglement.scores import factor_vae_score, mutual_information, mutual_information_gap, sap
from pyvae.errors import DataError
from pyvae.latent_space.posterior_means import posterior_means

__all__ = ["Disentanglement", "disentanglement"]


@dataclass(frozen=True, repr=False)
class Disentanglement:
    """Measures of a code against known factors; for those with a tensor per factor, the mean is usually reported.

    Attributes:
        mutual_information: (D, F), nats, as :func:`mutual_information`.
        mutual_information_gap: (F,), as :func:`mutual_information_gap`.
        sap: (F,), as :func:`sap`.
        factor_vae_score: as :func:`factor_vae_score`.
        dci: as :func:`dci`.
        linear_probe: (F,), accuracies, as :func:`linear_probe`.
    """

    mutual_information: Tensor
    mutual_information_gap: Tensor
    sap: Tensor
    factor_vae_score: float
    dci: DCI
    linear_probe: Tensor

    def figures(self) -> dict[str, float]:
        """All measures by name, as one number each."""
        return {
            "mutual_information_gap": float(self.mutual_information_gap.mean()),
            "sap": float(self.sap.mean()),
            "factor_vae_score": self.factor_vae_score,
            "dci_disentanglement": self.dci.disentanglement,
            "dci_completeness": self.dci.completeness,
            "dci_informativeness": float(self.dci.informativeness.mean()),
            "linear_probe": float(self.linear_probe.mean()),
        }

    def __repr__(self) -> str:
        return f"<Disentanglement: {', '.join(f'{name} {value:.3f}' for name, value in self.figures().items())}>"


def disentanglement(
    pair: nn.Module,
    data: Data,
    factors: ArrayLike | Tensor | None = None,
    sites: Sequence[str] | None = None,
    seed: int | None = None,
) -> Disentanglement:
    r"""Compare a pair's posterior means with known factors: MIG, SAP, FactorVAE score, DCI and a linear probe.

    The code is z_n = E[z | x_n] under q, the factors are v_n of x_n.

    The definition of each measure gives its best value and its value by chance. They do not measure the
    same: a code can be good by one and bad by another (Locatello et al., 2019).

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`; some thousands are enough.
        factors: v, (N, F), ints; by default those that the data carry, as those of :func:`pyvae.datasets.sprites` do.
        sites: the latent sites whose means are the code, side by side; by default all that are continuous.
        seed: of splits, votes and classifiers, and of the guide's draws where one site is drawn given another; without
            one, as for :func:`pyvae.fit`.

    Raises:
        DataError: if there are no factors, or they are not as expected.
        PairError: if the pair has no continuous latent, none of a name in ``sites``, or one without a mean.
        ArgumentError: if ``seed`` is no seed.

    Example:
        >>> import pyvae
        >>> sprites = pyvae.datasets.Sprites(image_size=16, scales=2, orientations=1, positions=4, colours=["white"])
        >>> data = sprites.labelled().without_labels().train
        >>> vae = pyvae.recipes.gaussian(shape=(1, 16, 16), latent_dim=3)
        >>> disentanglement(vae, data).mutual_information.shape
        torch.Size([3, 4])
    """
    if factors is None:
        carried = getattr(data, "factors", None)
        if carried is None:
            raise DataError(
                "the data carry no factors; expected them as factors=, a matrix of ints, a row per datapoint"
            )
        factors = carried.values
    check_order(data, "factors")
    with seeded_rng(seed) as seed:
        means = posterior_means(pair, data, sites, seed)
        z = checked_codes(torch.cat(list(means.values()), 1))
        v = checked_factors(factors, len(z))
        return Disentanglement(
            mutual_information=mutual_information(z, v),
            mutual_information_gap=mutual_information_gap(z, v),
            sap=sap(z, v, seed=seed),
            factor_vae_score=factor_vae_score(z, v, seed=seed),
            dci=dci(z, v, seed=seed),
            linear_probe=linear_probe(z, v, seed=seed),
        )
