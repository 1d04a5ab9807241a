"""MIG, SAP and the FactorVAE score: how well single dimensions of a code represent single factors."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score, recall_score
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from pyvae.core.arguments import check_int, check_seed
from pyvae.disentanglement.factors import checked_codes, checked_factors, held_out
from pyvae.errors import DataError

__all__ = ["factor_vae_score", "mutual_information", "mutual_information_gap", "sap"]


def mutual_information(codes: ArrayLike | Tensor, factors: ArrayLike | Tensor, bins: int = 20) -> Tensor:
    r"""The mutual information of each dimension of a code and each factor, in nats.

    .. math:: I(z_d; v_k) = \sum p(z_d, v_k) \log \frac{p(z_d, v_k)}{p(z_d) \, p(v_k)}

    z_d is cut into equal bins over its range.

    From the frequencies, which for independent z_d and v_k gives about (bins − 1)(values − 1)/(2N) instead of 0.

    Args:
        codes: z, (N, D), such as posterior means; a tensor or an array.
        factors: v, (N, F), ints.
        bins: the number of bins.

    Returns:
        (D, F), float64, in nats.

    Raises:
        DataError: if codes or factors are not as expected, of unequal lengths, or a factor is constant.
        ArgumentError: if ``bins`` is not an int of at least 2.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(5)).repeat(4, 1)
        >>> mutual_information(factors.double(), factors).diagonal().exp()
        tensor([2.0000, 5.0000], dtype=torch.float64)
    """
    check_int("bins", bins, 2)
    z = checked_codes(codes)
    v = checked_factors(factors, len(z))
    binned = [np.digitize(column, np.linspace(column.min(), column.max(), bins + 1)[1:-1]) for column in z.T]
    return torch.tensor([[mutual_info_score(k, b) for k in v.T] for b in binned], dtype=torch.float64)


def mutual_information_gap(codes: ArrayLike | Tensor, factors: ArrayLike | Tensor, bins: int = 20) -> Tensor:
    r"""The mutual information gap (MIG) of each factor.

    .. math:: \mathrm{MIG}_k = \frac{I(z_{d(k)}; v_k) - \max_{d \ne d(k)} I(z_d; v_k)}{H(v_k)}, \qquad
        d(k) = \operatorname{argmax}_d I(z_d; v_k)

    It is 1 if a factor depends on one dimension and on no other; about 0 if on several equally, or on none.
    What is known as *the* MIG is the mean over the factors.

    Args:
        codes: z, (N, D), such as posterior means; a tensor or an array.
        factors: v, (N, F), ints.
        bins: the number of equal bins of each z_d over its range; 20 is usual.

    Returns:
        (F,), float64, in [0, 1].

    Raises:
        DataError, ArgumentError: as :func:`mutual_information`.

    References:
        Chen et al., *Isolating sources of disentanglement in variational autoencoders*, 2018, equation 6; with bins, as
        in Locatello et al., *Challenging common assumptions*, 2019, in place of the density q(z | x).

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(5)).repeat(4, 1)
        >>> mutual_information_gap(factors.double(), factors).round(decimals=6)
        tensor([1., 1.], dtype=torch.float64)
    """
    information = mutual_information(codes, factors, bins)
    alone = information.new_zeros(1, information.shape[1])  # a second dimension, should there be one only
    first, second = torch.cat([information, alone]).topk(2, dim=0).values
    v = checked_factors(factors, len(codes))
    return (first - second) / torch.tensor([entropy(np.bincount(k)) for k in v.T], dtype=torch.float64)


def sap(codes: ArrayLike | Tensor, factors: ArrayLike | Tensor, test_size: float = 0.5, seed: int = 0) -> Tensor:
    r"""The separated attribute predictability (SAP) of each factor: how far the best dimension is ahead of the next.

    .. math:: \mathrm{SAP}_k = S_{d(k),k} - \max_{d \ne d(k)} S_{dk}, \qquad d(k) = \operatorname{argmax}_d S_{dk}

    S_{dk} is the balanced accuracy, on held-out rows, with which thresholds on z_d alone predict the value of v_k;
    there may be one threshold fewer than there are values. Chance is 1/V_k for V_k values, so that 1 − 1/V_k is the
    most that can be expected, where one dimension determines v_k and all others are independent of it. *The* SAP score
    is the mean over the factors.

    Args:
        codes: z, (N, D), such as posterior means; a tensor or an array.
        factors: v, (N, F), ints.
        test_size: the share of the rows that is held out.
        seed: of the split.

    Returns:
        (F,), float64; a code of one dimension is compared with chance.

    Raises:
        DataError: if codes or factors are not as expected, of unequal lengths, or a factor is constant.
        ArgumentError: if ``test_size`` is not between 0 and 1, or ``seed`` no seed.

    References:
        Kumar, Sattigeri and Balakrishnan, *Variational inference of disentangled latent concepts*, 2018, section 3;
        for factors that are numbered. The thresholds are those of a decision tree, greedy and by Gini's impurity.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(5)).repeat(20, 1)
        >>> bool((sap(factors.double(), factors) - torch.tensor([1 - 1 / 2, 1 - 1 / 5])).abs().max() < 0.1)
        True
    """
    z = checked_codes(codes)
    v = checked_factors(factors, len(z))
    train, test = held_out(len(z), test_size, seed)
    gaps = []
    for k in v.T:
        values, scores = int(k.max()) + 1, []
        for column in z.T[:, :, None]:
            tree = DecisionTreeClassifier(max_leaf_nodes=values, class_weight="balanced", random_state=seed)
            told = tree.fit(column[train], k[train]).predict(column[test])
            scores.append(recall_score(k[test], told, labels=np.unique(k[test]), average="macro"))
        *_, second, first = sorted(scores) if len(scores) > 1 else (1 / values, *scores)
        gaps.append(first - second)
    return torch.tensor(gaps, dtype=torch.float64)


def factor_vae_score(
    codes: ArrayLike | Tensor,
    factors: ArrayLike | Tensor,
    num_votes: int = 800,
    batch_size: int = 64,
    seed: int = 0,
) -> float:
    r"""The FactorVAE score: how well the dimension that varies least, given a factor's value, identifies that factor.

    .. math:: P(\hat k(d^*) = k), \qquad
        d^* = \operatorname{argmin}_d \frac{\mathrm{Var}[z_d \mid v_k = v]}{\mathrm{Var}[z_d]}

    A vote takes a factor k and rows that agree in v_k at random, and looks which dimension d* varies least among them.
    From ``num_votes`` of these the classifier k̂ takes for each dimension the factor that it was found with most often;
    the score is its accuracy on as many others. It is 1 if some dimension depends on v_k alone, for every k, and about
    1/F for a code that has nothing to do with the factors. Dimensions that do not vary are left out.

    Args:
        codes: z, (N, D), such as posterior means; a tensor or an array.
        factors: v, (N, F), ints; a value that occurs, in two rows or more. The rows are taken with replacement, so
            they should be many, with the other factors varying as in the data at large.
        num_votes: for the classifier, and again for its score.
        batch_size: rows per vote.
        seed: of the votes.

    Raises:
        DataError: if codes or factors are not as expected, of unequal lengths, a factor is constant or has a value
            that occurs once, or no dimension varies.
        ArgumentError: if a number is not as expected.

    References:
        Kim and Mnih, *Disentangling by factorising*, 2018, section 4.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(5)).repeat(20, 1)
        >>> factor_vae_score(factors.double(), factors)
        1.0
    """
    check_int("num_votes", num_votes)
    check_int("batch_size", batch_size, 2)
    check_seed(seed)
    z = checked_codes(codes)
    v = checked_factors(factors, len(z))
    spread = np.ptp(z, axis=0) > 0
    if not spread.any():
        raise DataError("no dimension of the codes varies; expected at least one that does")
    z = (z / np.where(spread, z.std(0), 1))[:, spread]
    groups = [[np.flatnonzero(k == value) for value in range(k.max() + 1)] for k in v.T]
    for index, rows in enumerate(groups):
        if min(map(len, rows)) < 2:
            raise DataError(f"factor {index} has a value that occurs in one row; expected two of each or more")
    random = np.random.default_rng(seed)
    votes = np.zeros((2, z.shape[1], v.shape[1]))
    for part in votes:
        for _ in range(num_votes):
            k = random.integers(v.shape[1])
            same = groups[k][v[random.integers(len(v)), k]]
            part[z[random.choice(same, batch_size)].var(0).argmin(), k] += 1
    told = votes[0].argmax(1)
    return float(votes[1][np.arange(len(told)), told].sum() / num_votes)
