"""DCI and linear probes: how well classifiers predict known factors from a code, and which dimensions they use."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import entropy
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from pyvae.disentanglement.factors import checked_codes, checked_factors, held_out
from pyvae.errors import ArgumentError, DataError

__all__ = ["DCI", "dci", "linear_probe"]

_TREES = 50
_PENALTIES = np.logspace(-4, 4, 9)


@dataclass(frozen=True, repr=False)
class DCI:
    """The dimensions of a code that predict each factor, and how well.

    Attributes:
        importances: R, (D, F), float64; each column sums to 1, or is 0 if its classifier uses none.
        informativeness: (F,), float64, the accuracy on held-out rows.
    """

    importances: Tensor
    informativeness: Tensor

    @property
    def disentanglement(self) -> float:
        r"""The disentanglement of the code, 1 if each z_d predicts one factor.

        .. math:: \sum_d \rho_d (1 - H_F(R_{d \cdot} / \sum_k R_{dk})), \qquad \rho_d = \sum_k R_{dk} / \sum R

        The entropy is to base F.
        """
        weights = self.importances.sum(1)
        if not weights.any():
            return 0.0
        return float((weights / weights.sum() * _concentration(self.importances)).sum())

    @property
    def completeness(self) -> float:
        r"""The completeness of the code, 1 if each factor is predicted by one dimension.

        .. math:: \frac 1F \sum_k (1 - H_D(R_{1k}, \dots, R_{Dk}))

        The entropy is to base D.
        """
        return float(_concentration(self.importances.T).mean())

    def __repr__(self) -> str:
        return (
            f"<DCI: disentanglement {self.disentanglement:.3f}, completeness {self.completeness:.3f}, "
            f"informativeness {float(self.informativeness.mean()):.3f}>"
        )


def _concentration(rows: Tensor) -> Tensor:
    """1 − H of each row, normalized, to the base of its length; 0 for a row of zeros, 1 if there is but one column."""
    used = rows.sum(1) > 0
    shares = np.where(used[:, None], rows, 1.0)
    spread = entropy(shares, axis=1) / max(np.log(rows.shape[1]), 1e-12)
    return torch.from_numpy(1 - spread) * used


def dci(
    codes: ArrayLike | Tensor,
    factors: ArrayLike | Tensor,
    test_size: float = 0.25,
    seed: int = 0,
    classifier: ClassifierMixin | None = None,
) -> DCI:
    r"""Disentanglement, completeness and informativeness (DCI) of a code, from the importances of a classifier.

    R_dk is the importance of z_d to a classifier of v_k.

    Disentanglement asks whether a dimension predicts one factor alone, completeness whether a factor is predicted by
    one dimension alone, informativeness how well it is predicted by all together. Each is 1 for a code that is, up to
    order and a monotone map of each dimension, the factors. Where the code is uninformative, the importances are those
    of noise: about equal, with disentanglement and completeness near 0, and informativeness near the most frequent
    value's.

    Args:
        codes: z, (N, D), such as posterior means; a tensor or an array.
        factors: v, (N, F), ints.
        test_size: the share of the rows that is held out.
        seed: of the split and the classifier.
        classifier: an unfitted classifier of scikit-learn with ``feature_importances_`` that are not negative; by
            default a random forest of 50 trees, which may look at all dimensions at every split. Its depth is not
            tuned.

    Raises:
        DataError: if codes or factors are not as expected, of unequal lengths, or a factor is constant.
        ArgumentError: if the classifier is none of scikit-learn or has no importances, ``test_size`` is not between 0
            and 1, or ``seed`` no seed.

    References:
        Eastwood and Williams, *A framework for the quantitative evaluation of disentangled representations*, 2018,
        section 2; with accuracy, since factors are numbered, in place of the error.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(5)).repeat(20, 1)
        >>> dci(factors.double(), factors)
        <DCI: disentanglement 1.000, completeness 1.000, informativeness 1.000>
    """
    z = checked_codes(codes)
    v = checked_factors(factors, len(z))
    train, test = held_out(len(z), test_size, seed)
    if classifier is None:
        classifier = RandomForestClassifier(_TREES, max_features=None, random_state=seed)
    if not isinstance(classifier, ClassifierMixin):
        raise ArgumentError(
            f"classifier is {classifier!r}; expected an unfitted classifier of scikit-learn, such as "
            "RandomForestClassifier(100)"
        )
    importances, accuracies = [], []
    for k in v.T:
        fitted = clone(classifier).fit(z[train], k[train])
        if not hasattr(fitted, "feature_importances_"):
            raise ArgumentError(f"classifier is {classifier!r}; expected one that has feature_importances_ when fitted")
        importances.append(fitted.feature_importances_)
        accuracies.append(fitted.score(z[test], k[test]))
    return DCI(torch.tensor(np.stack(importances, 1)).double(), torch.tensor(accuracies, dtype=torch.float64))


def linear_probe(
    codes: ArrayLike | Tensor,
    factors: ArrayLike | Tensor,
    test_size: float = 0.25,
    seed: int = 0,
    regression: bool = False,
) -> Tensor:
    r"""The accuracy, on held-out rows, with which a linear classifier predicts each factor from a code.

    .. math:: P(\operatorname{argmax}_v (w_v \cdot z + b_v) = v_k)

    The classifier is scikit-learn's logistic regression on standardized codes. For factors whose numbers are a scale,
    such as places, ``regression`` gives instead R² = 1 − Σ (v_k − v̂_k)² / Σ (v_k − v̄_k)², of ridge regression with a
    penalty chosen on the training rows.

    Args:
        codes: z, (N, D), such as posterior means; a tensor or an array.
        factors: v, (N, F), ints; labels as one column, ``y[:, None]``.
        test_size: the share of the rows that is held out.
        seed: of the split.
        regression: whether to fit numbers instead of classes.

    Returns:
        (F,), float64: accuracies, or R², which is at most 1 and negative where the mean would be better.

    Raises:
        DataError: if codes or factors are not as expected, of unequal lengths, or a factor is constant, also among the
            rows that are held out or those that are not.
        ArgumentError: if ``test_size`` is not between 0 and 1, or ``seed`` no seed.

    References:
        Alain and Bengio, *Understanding intermediate layers using linear classifier probes*, 2017.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(5)).repeat(20, 1)
        >>> linear_probe(factors.double(), factors)
        tensor([1., 1.], dtype=torch.float64)
    """
    z = checked_codes(codes)
    v = checked_factors(factors, len(z))
    train, test = held_out(len(z), test_size, seed)
    scores = []
    for index, k in enumerate(v.T):
        if len(np.unique(k[train])) < 2 or (regression and len(np.unique(k[test])) < 2):
            raise DataError(f"factor {index} has one value in a part of the split; expected more rows, or another seed")
        model = RidgeCV(_PENALTIES) if regression else LogisticRegression(max_iter=1000)
        scores.append(make_pipeline(StandardScaler(), model).fit(z[train], k[train]).score(z[test], k[test]))
    return torch.tensor(scores, dtype=torch.float64)
