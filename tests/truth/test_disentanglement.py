"""Measures of representations where they are known: by closed forms, and beside other computations."""

import math
import random

import numpy as np
import pytest
import torch
from scipy.stats import chi2, entropy, norm
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch import nn

import pyvae
from pyvae import guides, likelihoods, networks, priors
from pyvae.diagnostics import (
    DCI,
    dci,
    disentanglement,
    factor_vae_score,
    linear_probe,
    mutual_information,
    mutual_information_gap,
    posterior_means,
    sap,
)
from pyvae.disentanglement.factors import held_out
from pyvae.errors import ArgumentError, DataError, PairError

SIZES = (2, 3, 5)
ROWS = 4000
EVERY = [mutual_information, mutual_information_gap, sap, dci, factor_vae_score, linear_probe]


def drawn_factors(rows=ROWS, sizes=SIZES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (rows,), generator=generator) for size in sizes], 1)


def chance_error(values, rows):
    """The standard deviation of a balanced accuracy on so many rows, of what is told without regard to the truth.

    The mean over V values of recalls p_v, Σ p_v = 1, from about rows/V each: Σ p_v (1 − p_v) V / (rows V²), which is
    largest for equal p_v.
    """
    return math.sqrt((1 - 1 / values) / (values * rows))


@pytest.fixture(scope="module")
def factors():
    return drawn_factors()


@pytest.fixture(scope="module")
def perfect(factors):
    """The factors in another order, each by a monotone map, and a dimension that never changes."""
    v = factors.double()
    return torch.stack([(v[:, 2] / 4).exp(), -3 * v[:, 0], v[:, 1] ** 3, torch.ones(ROWS)], 1)


@pytest.fixture(scope="module")
def independent():
    return torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_perfect_code(perfect, factors):
    # what another factor's dimension tells by chance: 2 N I is of (3 − 1)(5 − 1) degrees of freedom at most
    by_chance = chi2.ppf(1 - 1e-6, 8) / (2 * ROWS)
    gap = mutual_information_gap(perfect, factors)
    assert (gap <= 1 + 1e-9).all()
    assert (gap >= 1 - by_chance / math.log(2)).all()
    assert factor_vae_score(perfect, factors) == 1
    found = dci(perfect, factors)
    assert (found.disentanglement, found.completeness) == pytest.approx((1, 1), abs=1e-6)
    assert found.informativeness.tolist() == [1, 1, 1]
    for gap, size in zip(sap(perfect, factors).tolist(), SIZES, strict=True):
        assert gap == pytest.approx(1 - 1 / size, abs=5 * chance_error(size, ROWS / 2))
    assert linear_probe(torch.nn.functional.one_hot(factors[:, 2]), factors[:, 2:]).tolist() == [1]


def test_a_code_that_knows_nothing(independent, factors):
    for size, gap, score, accuracy in zip(
        SIZES,
        mutual_information_gap(independent, factors),
        sap(independent, factors),
        linear_probe(independent, factors),
        strict=True,
    ):
        assert (
            0 <= gap < chi2.ppf(1 - 1e-6, 19 * (size - 1)) / (2 * ROWS) / math.log(size) * 1.02
        )  # the entropy is less
        assert 0 <= score < 5 * math.sqrt(2) * chance_error(size, ROWS / 2)
        assert abs(accuracy - 1 / size) < 5 * math.sqrt((1 / size) * (1 - 1 / size) / (ROWS / 4)) + 0.02
    assert factor_vae_score(independent, factors) == pytest.approx(1 / 3, abs=5 * math.sqrt(2 / 9 / 800))
    found = dci(independent, factors)
    assert found.disentanglement < 0.01
    assert found.completeness < 0.01


def test_mutual_information_of_binary_channels():
    """z_d = v flipped with probability ε_d: I = log 2 − h(ε_d). Its error is that of a mean of log p(z, v)/p(z)p(v)."""
    flips, rows = np.array([0.05, 0.2, 0.5]), 40_000
    generator = np.random.default_rng(0)
    v = generator.integers(2, size=(rows, 1))
    z = v ^ (generator.random((rows, 3)) < flips)
    exact = math.log(2) - np.array([entropy([e, 1 - e]) for e in flips])
    errors = np.sqrt(flips * (1 - flips) / rows) * np.log((1 - flips) / flips) + 5 / rows  # and the bias, of 1/(2 N)
    found = mutual_information(z.astype(float), v)[:, 0].numpy()
    assert (abs(found - exact) < 5 * errors).all()
    gap = float(mutual_information_gap(z.astype(float), v))
    assert gap == pytest.approx((exact[0] - exact[1]) / math.log(2), abs=5 * (errors[0] + errors[1]) / math.log(2))


def test_mutual_information_beside_entropies(factors):
    z = factors.double() @ torch.randn(3, 4, dtype=torch.float64) + torch.randn(ROWS, 4)
    found = mutual_information(z, factors, bins=7)
    for d, k in np.ndindex(4, 3):
        joint, *_ = np.histogram2d(z[:, d], factors[:, k], bins=[7, SIZES[k]])
        exact = entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint.ravel())
        assert float(found[d, k]) == pytest.approx(exact, abs=1e-10)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_sap_of_normals_at_a_distance(share):
    """Of N(0, 1) and N(δ, 1) the best threshold tells Φ(δ/2), whichever is more frequent."""
    rows = 40_000
    v = (torch.rand(rows, 1) < share).long()
    z = v * torch.tensor([2.0, 1.0, 0.0]) + torch.randn(rows, 3)
    error = 0.5 * math.sqrt(0.25 / (rows / 2) * (1 / share + 1 / (1 - share)))  # of the mean of two recalls, at most
    assert float(sap(z, v)) == pytest.approx(norm.cdf(1) - norm.cdf(0.5), abs=5 * math.sqrt(2) * error)
    assert float(sap(z[:, :1], v)) == pytest.approx(norm.cdf(1) - 0.5, abs=5 * error)


def test_sap_counts_rare_values_as_much_as_frequent_ones():
    """Of U(0, 1) and U(0.8, 1.8), every threshold between 0.8 and 1 has the same mean of recalls: t + 1.8 − t."""
    rows, share = 40_000, 0.1
    v = (torch.rand(rows, 1) < share).long()
    z = torch.rand(rows, 1) + 0.8 * v
    error = 0.5 * math.sqrt(0.16 / (rows / 2) * (1 / share + 1 / (1 - share)))  # a recall is 0.8 at least
    assert float(sap(z, v)) == pytest.approx(0.9 - 0.5, abs=5 * error)


def test_sap_sets_as_many_thresholds_as_there_are_values_less_one(factors):
    """A factor that goes up and down along z: two thresholds cannot tell four stretches."""
    z = torch.rand(ROWS, 1)
    stretches = (z[:, 0] * 4).long()
    assert float(sap(z, stretches[:, None])) == pytest.approx(3 / 4, abs=0.01)
    back_and_forth = (stretches % 2)[:, None]
    assert float(sap(z, back_and_forth)) < 0.3


def test_the_factor_vae_score_of_a_dimension_that_two_factors_share():
    """z_1 = v_1 + v_2 stands stiller for both, and is taken for one of them: right half of the time."""
    v = drawn_factors(sizes=(4, 4))
    z = torch.stack([v.sum(1).double(), torch.randn(ROWS, dtype=torch.float64)], 1)
    assert factor_vae_score(z, v, batch_size=512) == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / 800))
    z[:, 1] = v[:, 0]
    assert factor_vae_score(z, v, batch_size=512) == 1


def test_the_factor_vae_score_does_not_depend_on_scales(factors):
    z = factors + 0.1 * torch.randn(ROWS, 3)
    assert factor_vae_score(z, factors) == 1
    assert factor_vae_score(z * torch.tensor([1e-3, 1.0, 1e3]), factors) == 1


@pytest.mark.parametrize("measure", EVERY, ids=lambda m: m.__name__)
@pytest.mark.parametrize("scales", [(2.0**-1060, 1, 2.0**990), (2.0**-30, 2.0**20, 1)])
def test_no_measure_depends_on_the_scale_of_a_dimension(factors, measure, scales):
    z = factors[:500].double() + 0.1 * torch.randn(500, 3)
    z = z.mul(2**8).round()  # whole numbers, which stay exact where numbers are denormal
    found, expected = (measure(codes, factors[:500]) for codes in (z * torch.tensor(scales, dtype=z.dtype), z))
    if measure is dci:
        found, expected = found.importances, expected.importances
    assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))


def test_what_varies_by_rounding_alone_is_constant(perfect, factors):
    rounded = torch.cat([perfect[:, :3], 1e5 * (1 + 4e-16 * factors[:, :1].double())], 1)
    assert (rounded[:, 3] != rounded[0, 3]).any()
    constant = torch.cat([perfect[:, :3], torch.ones(ROWS, 1)], 1)
    for measure in (mutual_information, mutual_information_gap, sap, linear_probe):
        assert torch.equal(measure(rounded, factors), measure(constant, factors))
    assert not mutual_information(1 + 1e-12 * factors.double(), factors, bins=10**5).isnan().any()
    with pytest.raises(DataError, match="no dimension of the codes varies"):
        factor_vae_score(rounded[:, 3:], factors)


def test_dci_from_importances():
    found = DCI(torch.tensor([[0.75, 0.5], [0.25, 0.5]], dtype=torch.float64), torch.ones(2))
    rows = [1 - entropy([0.6, 0.4], base=2), 1 - entropy([1 / 3, 2 / 3], base=2)]
    assert found.disentanglement == pytest.approx(1.25 / 2 * rows[0] + 0.75 / 2 * rows[1])
    assert found.completeness == pytest.approx((1 - entropy([0.75, 0.25], base=2) + 0) / 2)
    unused = DCI(torch.zeros(3, 2, dtype=torch.float64), torch.ones(2))
    assert (unused.disentanglement, unused.completeness) == (0, 0)


@pytest.mark.parametrize("classifier", [DecisionTreeClassifier(max_depth=4, random_state=0), "boosting"])
def test_dci_by_another_classifier(factors, classifier):
    if classifier == "boosting":
        classifier = GradientBoostingClassifier(n_estimators=5, random_state=0)
    z = factors.double() @ torch.randn(3, 4, dtype=torch.float64) + torch.randn(ROWS, 4)
    found = dci(z, factors, classifier=classifier, seed=3)
    train, test = held_out(ROWS, 0.25, 3)
    assert sorted([*train, *test]) == list(range(ROWS))
    for k in range(3):
        classifier.fit(z[train], factors[train, k])
        np.testing.assert_allclose(found.importances[:, k], classifier.feature_importances_)
        assert float(found.informativeness[k]) == classifier.score(z[test], factors[test, k])
    rows = found.importances / found.importances.sum(1, keepdim=True)
    each = [1 + float((r[r > 0] * r[r > 0].log()).sum()) / math.log(3) for r in rows]
    weights = found.importances.sum(1) / 3
    assert found.disentanglement == pytest.approx(float((weights * torch.tensor(each)).sum()))
    columns = [1 + float((c[c > 0] * c[c > 0].log()).sum()) / math.log(4) for c in found.importances.T]
    assert found.completeness == pytest.approx(sum(columns) / 3)


def test_probes_are_linear_where_forests_are_not():
    """Of four quadrants with alternating labels, no line has fewer than one on its wrong side."""
    z = torch.randn(ROWS, 2)
    v = ((z[:, :1] > 0) ^ (z[:, 1:] > 0)).long()
    assert float(linear_probe(z, v)) < 0.75 + 5 * math.sqrt(0.25 / (ROWS / 4))
    assert float(dci(z, v).informativeness) > 0.95


def test_the_linear_probe_of_noisy_numbers():
    """z = v + N(0, σ²): R² = Var v / (Var v + σ²), with an error of about 2 (1 − R²) / √rows."""
    v = drawn_factors(20_000, (5,))
    z = v + 1.5 * torch.randn(20_000, 1)
    exact = 2 / (2 + 1.5**2)
    found = float(linear_probe(z, v, regression=True))
    assert found == pytest.approx(exact, abs=5 * 2 * (1 - exact) / math.sqrt(5000))
    train, test = held_out(20_000, 0.25, 0)
    own = LogisticRegression(C=1e6).fit(z[train], v[train, 0]).score(z[test], v[test, 0])
    assert float(linear_probe(z, v)) == pytest.approx(own, abs=0.002)


class Given(nn.Module):
    """x ↦ (z, log σ²): a guide whose mean is x itself."""

    def forward(self, x):
        return torch.cat([x, torch.zeros_like(x)], -1)


def pair_of(dims):
    return pyvae.VAE(
        priors.StandardNormal(dims),
        likelihoods.Normal(networks.MLP(dims, dims, [4]), dims),
        guides.DiagonalNormal(Given(), dims),
    )


def test_of_a_pair_whose_means_are_known(perfect, factors):
    x = perfect.float()
    pair = pair_of(4)
    assert torch.equal(posterior_means(pair, x)["z"], x)
    found = disentanglement(pair, x, factors, seed=5)
    assert torch.equal(found.mutual_information, mutual_information(x, factors))
    assert torch.equal(found.mutual_information_gap, mutual_information_gap(x, factors))
    assert torch.equal(found.sap, sap(x, factors, seed=5))
    assert torch.equal(found.dci.importances, dci(x, factors, seed=5).importances)
    assert torch.equal(found.linear_probe, linear_probe(x, factors, seed=5))
    assert found.figures()["factor_vae_score"] == 1
    assert "dci_completeness 1.000" in repr(found)


def test_of_a_pair_in_bfloat16(perfect, factors):
    x = perfect.bfloat16()
    found = disentanglement(pair_of(4).bfloat16(), x, factors)
    assert torch.equal(found.mutual_information, mutual_information(x.double(), factors))
    assert found.factor_vae_score == 1


def test_several_sites_and_other_forms_of_data():
    pair = pyvae.recipes.hierarchical((5,), latent_dims=[2, 3], hidden=[4])
    x, v = torch.rand(2000, 5).round(), drawn_factors(2000)
    means = posterior_means(pair, x, seed=1)
    assert {name: tuple(m.shape) for name, m in means.items()} == {"z_1": (2000, 2), "z_2": (2000, 3)}
    again = posterior_means(pair, torch.utils.data.TensorDataset(x), seed=1)
    assert all(torch.equal(means[name], again[name]) for name in means)
    assert disentanglement(pair, x, v).mutual_information.shape == (5, 3)
    assert disentanglement(pair, x, v, sites=["z_1"]).mutual_information.shape == (2, 3)
    with pytest.raises(PairError, match=r"\['w'\].*one or more of z_1, z_2"):
        disentanglement(pair, x, v, sites=["w"])


def test_codes_are_no_code_here():
    pair = pyvae.recipes.vqvae(shape=(1, 8, 8), num_codes=4, channels=[4])
    found = posterior_means(pair, torch.rand(12, 1, 8, 8))
    assert list(found) == ["z"]
    with pytest.raises(PairError, match="expected one or more of z"):
        posterior_means(pair, torch.rand(12, 1, 8, 8), ["k"])


def test_seeds_decide_and_streams_go_on_as_if_nothing_had_been(independent, factors):
    x, pair = independent.float(), pair_of(4)
    states = [torch.random.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]
    first, second = (disentanglement(pair, x[:500], factors[:500], seed=2) for _ in range(2))
    assert first.figures() == second.figures()
    assert disentanglement(pair, x[:500], factors[:500], seed=3).figures() != first.figures()
    assert states == [torch.random.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]


def changed(tensor, row, column, value):
    tensor = tensor.clone()
    tensor[row, column] = value
    return tensor


@pytest.mark.parametrize("measure", EVERY, ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda z, v: (z[:-1], v), "4000 rows of factors and 3999 of codes"),
        (lambda z, v: (z, v.double()), "float64.*expected ints.*bins"),
        (lambda z, v: (z, v[:, 0]), r"factors have shape \(4000,\)"),
        (lambda z, v: (z[:, :0], v), r"codes have shape \(4000, 0\)"),
        (lambda z, v: (z, torch.cat([v, torch.full((ROWS, 1), 7)], 1)), "factor 3 is 7 in all rows"),
        (lambda z, v: (changed(z, 17, 2, torch.nan), v), "code 2 of row 17 is nan"),
        (lambda z, v: (changed(z, 3, 0, -torch.inf), v), "code 0 of row 3 is -inf"),
        (lambda z, v: (z[:9], v[:9]), "9 rows.*at least 10"),
        (lambda z, v: (z.cfloat(), v), "complex64.*real"),
        (lambda z, v: ([[1.0, 2.0], [3.0]] * 20, v), "codes are no array.*rows of equal length"),
        (lambda z, v: (z, [[0, 1], [1]] * (ROWS // 2)), "factors are no array.*rows of equal length"),
    ],
)
def test_bad_input_is_told(independent, factors, measure, spoil, message):
    with pytest.raises(DataError, match=message):
        measure(*spoil(independent, factors))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, v: mutual_information(z, v, bins=1), "bins is 1"),
        (lambda z, v: sap(z, v, test_size=1.5), "test_size is 1.5"),
        (lambda z, v: linear_probe(z, v, test_size=100), "test_size is 100"),
        (lambda z, v: dci(z, v, seed=-1), "seed is -1"),
        (lambda z, v: dci(z, v, classifier=LogisticRegression()), "LogisticRegression.*feature_importances_"),
        (lambda z, v: dci(z, v, classifier="forest"), "classifier is 'forest'; expected an unfitted classifier"),
        (lambda z, v: dci(z, v, classifier=DecisionTreeClassifier), "classifier is <class.*DecisionTreeClassifier"),
        (lambda z, v: dci(z, v, classifier=RandomForestRegressor()), r"classifier is RandomForestRegressor\(\)"),
        (lambda z, v: factor_vae_score(z, v, num_votes=0), "num_votes is 0"),
        (lambda z, v: factor_vae_score(z, v, batch_size=1), "batch_size is 1"),
        (lambda z, v: factor_vae_score(z, v, seed=0.5), "seed is 0.5"),
    ],
)
def test_bad_arguments_are_told(independent, factors, call, message):
    with pytest.raises(ArgumentError, match=message):
        call(independent, factors)


def test_what_cannot_be_measured_is_told(factors):
    with pytest.raises(DataError, match="no dimension of the codes varies"):
        factor_vae_score(torch.ones(ROWS, 2), factors)
    with pytest.raises(DataError, match="factor 0 has a value that occurs in one row"):
        factor_vae_score(torch.randn(20, 2), torch.arange(20)[:, None] // 19)
    with pytest.raises(DataError, match=r"test_size 0\.01 of 20 rows"):
        sap(torch.randn(20, 2), torch.arange(20)[:, None] % 2, test_size=0.01)
    with pytest.raises(DataError, match="carry no factors"):
        disentanglement(pair_of(4), torch.randn(20, 4))
