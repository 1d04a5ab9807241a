"""Which elements of a site count, however the rest is left out: told by the density itself."""

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyvae
from pyvae.distributions import PartiallyObserved
from pyvae.inspection import Unobserved, counted, marked
from pyvae.latent_space.posterior_means import posterior_means
from tests.truth.obs_masks import ObsMasked

N, T = 7, 5
MASK = torch.arange(T) < torch.tensor([5, 1, 3, 0, 4, 2, 5])[:, None]


def in_plates(fn, x):
    with pyro.plate("data", N, dim=-2), pyro.plate("time", T, dim=-1), poutine.mask(mask=MASK):
        pyro.sample("x", fn, obs=x)


def before_to_event(fn, x):
    with pyro.plate("data", N):
        pyro.sample("x", fn.mask(MASK).to_event(1), obs=x)


def after_to_event(fn, x):
    with pyro.plate("data", N):
        pyro.sample("x", fn.to_event(1).mask(MASK.all(1)), obs=x)


def whole_rows(fn, x):
    with pyro.plate("data", N), poutine.mask(mask=MASK.all(1)):
        pyro.sample("x", fn.to_event(1), obs=x)


def several(fn, x):
    with pyro.plate("data", N), poutine.mask(mask=MASK[:, 2]), poutine.mask(mask=True):
        pyro.sample("x", fn.mask(MASK).to_event(1).mask(True), obs=x)


def gaps(fn, x):
    with pyro.plate("data", N):
        pyro.sample("x", PartiallyObserved(fn).to_event(1), obs=x.masked_fill(~MASK, torch.nan))


def gaps_under_a_mask(fn, x):
    with pyro.plate("data", N), poutine.mask(mask=MASK.all(1)):
        pyro.sample("x", PartiallyObserved(fn.mask(MASK[2])).to_event(1), obs=x.masked_fill(~MASK, torch.nan))


def one_row_for_all(fn, x):
    with pyro.plate("data", N):
        pyro.sample("x", fn.mask(MASK[2]).to_event(1), obs=x)


def nowhere(fn, x):
    with pyro.plate("data", N), poutine.mask(mask=False):
        pyro.sample("x", fn.to_event(1), obs=x)


def scalar(fn, x):
    with pyro.plate("data", N), poutine.mask(mask=torch.tensor(True)):
        pyro.sample("x", fn.to_event(1), obs=x)


def columns_of_plates(fn, x):
    with pyro.plate("data", N, dim=-2), pyro.plate("time", T, dim=-1), poutine.mask(mask=MASK[2]):
        pyro.sample("x", dist.Normal(0.0, 1.0).mask(MASK[:, 2:3]), obs=x)


def expanded_by_the_plate(fn, x):
    with pyro.plate("data", N):
        pyro.sample("x", dist.Normal(torch.zeros(T), 2.0).mask(MASK[2]).to_event(1), obs=x)


def channels(fn, x):
    x = torch.stack([x, x], -1)
    with pyro.plate("data", N):
        pyro.sample("x", dist.Normal(torch.zeros(N, T, 2), 1.0).to_event(1).mask(MASK).to_event(1), obs=x)


PROGRAMS = [in_plates, before_to_event, after_to_event, whole_rows, several, gaps, gaps_under_a_mask, one_row_for_all,
            nowhere, scalar, columns_of_plates, expanded_by_the_plate, channels]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_an_element_counts_if_the_density_changes_with_it(program):
    x = torch.randn(N, T, requires_grad=True)
    site = poutine.trace(program).get_trace(dist.Normal(torch.zeros(N, T), 1.0), x).nodes["x"]
    trace = poutine.trace(program).get_trace(dist.Normal(torch.zeros(N, T), 1.0), x)
    (gradient,) = torch.autograd.grad(trace.log_prob_sum() + 0 * x.sum(), x)
    elements = counted(site)
    assert elements.shape == site["value"].shape
    assert elements.dtype == torch.bool
    last = elements if elements.dim() == 2 else elements.all(-1)
    assert torch.equal(last, gradient != 0)
    drawn = poutine.trace(Unobserved()(program)).get_trace(dist.Normal(torch.zeros(N, T), 1.0), x.detach()).nodes["x"]
    assert torch.equal(counted(drawn), elements)
    assert torch.equal(marked(drawn["value"], drawn).isnan(), ~elements)


def test_where_all_count_there_is_no_mask():
    for fn in (dist.Normal(torch.zeros(N, T), 1.0).to_event(1), dist.Normal(torch.zeros(N, T), 1.0).mask(True)):
        site = {"fn": fn, "mask": None, "value": torch.zeros(N, T)}
        assert counted(site) is None
        assert marked(site["value"], site) is site["value"]


def test_integers_that_are_masked_are_marked_as_floats():
    site = {"fn": dist.Categorical(torch.ones(N, T, 3)).mask(MASK).to_event(1), "mask": None}
    site["value"] = torch.randint(3, (N, T))
    values = marked(site["value"], site)
    assert values.dtype == torch.float64
    assert torch.equal(values[MASK], site["value"][MASK].double())
    assert values[~MASK].isnan().all()


class Local(nn.Module):
    """A latent for each step; padded steps may be masked in the model, in the guide, or in both."""

    def __init__(self, here, there):
        super().__init__()
        self.here, self.there, self.shift = here, there, nn.Parameter(torch.zeros(()))

    def draw(self, loc, masked, mask):
        q = dist.Normal(loc, 1.0)
        return pyro.sample("z", (q.mask(mask) if masked else q).to_event(1))

    def model(self, x, mask):
        with pyro.plate("data", len(x)):
            z = self.draw(torch.zeros_like(x), self.here, mask)
            pyro.sample("x", dist.Normal(z, 1.0).mask(mask).to_event(1), obs=x)

    def guide(self, x, mask):
        with pyro.plate("data", len(x)):
            self.draw(x / 2 + self.shift, self.there, mask)


@pytest.mark.parametrize(
    ("here", "there", "told"), [(True, False, "in the model where"), (False, True, "in the guide where")]
)
def test_a_latent_that_is_masked_in_one_program_alone_is_refused(here, there, told):
    pair, data = Local(here, there), (torch.randn(N, T), MASK)
    for tool in (pyvae.elbo, pyvae.evaluate, pyvae.diagnose, pyvae.to_inference_data):
        with pytest.raises(pyvae.PairError, match=f"'z' is masked {told}"):
            tool(pair, data)
    with pytest.raises(pyvae.PairError, match=f"'z' is masked {told}"):
        pyvae.fit(pair, data, epochs=1, progress=False)
    pyvae.elbo(Local(True, True), data)
    pyvae.elbo(Local(False, False), data)


def test_a_guide_without_what_obs_mask_splits_off_is_told_what_to_write():
    class Split(ObsMasked, Local):
        def guide(self, x, mask):
            with pyro.plate("data", len(x), dim=-2):
                pyro.sample("z", dist.Normal(self.shift, 1.0).expand([len(x), 1]))

    pair, data = Split(False, False), (torch.randn(N, T), MASK)
    for tool in (pyvae.elbo, pyvae.diagnose, lambda *a: pyvae.fit(*a, progress=False)):
        with pytest.raises(pyvae.PairError, match=r"poutine.mask\(mask=mask\): pyro.sample\('x', …, obs=x\)` in place"):
            tool(pair, data)


@pytest.mark.parametrize("kind", ["tokens", "one-hot"])
def test_padding_outside_of_the_support_is_told_from_data_outside_of_it(kind):
    class Tokens(Local):
        def model(self, x, mask):
            with pyro.plate("data", len(x)):
                self.draw(torch.zeros(x.shape[:2]), False, mask)
                p = dist.Categorical(torch.ones(3)) if kind == "tokens" else dist.OneHotCategorical(torch.ones(3))
                pyro.sample("x", p.expand(x.shape[:2]).mask(mask).to_event(1), obs=x)

        def guide(self, x, mask):
            with pyro.plate("data", len(x)):
                self.draw(self.shift.expand(x.shape[:2]), False, mask)

    x = torch.randint(3, (N, T))
    x = x if kind == "tokens" else torch.nn.functional.one_hot(x, 3).float()
    pair, padded = Tokens(False, False), torch.where(MASK.reshape(N, T, *[1] * (x.dim() - 2)), x, -1)
    pyvae.elbo(pair, (x, MASK))
    with pytest.raises(pyvae.DataError, match=r"those outside are masked, .*: put a number of the support in their"):
        pyvae.elbo(pair, (padded, MASK))
    wrong = padded.clone()
    wrong[0, 0] = 7
    with pytest.raises(pyvae.DataError, match="rescale or binarize them"):
        pyvae.elbo(pair, (wrong, MASK))


@pytest.mark.parametrize("how", ["in the model", "in neither"])
def test_posterior_means_of_masked_elements_are_none(how):
    pair, x = Local(how == "in the model", how == "in the model"), torch.randn(N, T)
    means = posterior_means(pair, (x, MASK))["z"]
    assert torch.equal(means.isnan(), ~MASK if how == "in the model" else torch.zeros(N, T, dtype=torch.bool))
    torch.testing.assert_close(means[MASK], x[MASK] / 2)


def test_pairs_that_count_other_elements_are_not_compared():
    """Each gives the same data a density, but of another number of them."""

    class Unmasked(Local):
        def model(self, x, mask):
            super().model(x, torch.ones_like(mask))

        def guide(self, x, mask):
            super().guide(x, torch.ones_like(mask))

    data = (torch.randn(N, T), MASK)
    pyvae.compare({"a": Local(True, True), "b": Local(False, False)}, data, num_particles=2)
    with pytest.raises(pyvae.PairError, match=r"a density for 2.85714 numbers, but 'b' a density for 5 numbers"):
        pyvae.compare({"a": Local(True, True), "b": Unmasked(True, True)}, data, num_particles=2)


def test_warnings_are_of_what_counts():
    """Binary data under a density, and intensities under a Bernoulli, are such whatever padding and gaps hold."""

    class Observed(Local):
        takes_missing = True

        def __init__(self, fn):
            super().__init__(False, False)
            self.fn = fn

        def model(self, x, mask):
            with pyro.plate("data", len(x)):
                self.draw(torch.zeros_like(x), False, mask)
                pyro.sample("x", self.fn(x, mask).to_event(1), obs=x)

        def guide(self, x, mask):
            with pyro.plate("data", len(x)):
                self.draw(self.shift.expand(x.shape), False, mask)

    def told(fn, x):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            pyvae.fit(Observed(fn), (x, MASK), epochs=1, seed=0, progress=False)
        return " ".join(str(w.message) for w in found if str(w.message).startswith("site"))

    def normal(x, mask):
        return dist.Normal(torch.zeros(x.shape), 1.0).mask(mask)

    def coin(x, mask):
        return dist.Bernoulli(0.5 * torch.ones(x.shape), validate_args=False).mask(mask)

    def gaps_of(x, mask):
        return PartiallyObserved(dist.Normal(torch.zeros(x.shape), 1.0))

    binary, grey = torch.rand(N, T).round(), torch.rand(N, T)
    for filler in (0.5, 1.0):
        assert "the data are all 0 or 1" in told(normal, torch.where(MASK, binary, filler))
        assert "strictly between 0 and 1" in told(coin, torch.where(MASK, grey, filler))
        assert not told(normal, torch.where(MASK, grey, filler))
        assert not told(coin, torch.where(MASK, binary, filler))
    assert "the data are all 0 or 1" in told(gaps_of, binary.masked_fill(~MASK, torch.nan))
    assert not told(gaps_of, grey.masked_fill(~MASK, torch.nan))


def test_objectives_that_compare_datapoints_refuse_masks_of_any_kind():
    data = (torch.randn(N, T), MASK)
    with pytest.raises(pyvae.PairError, match="site 'z' is masked, and what it shares"):
        pyvae.fit(Local(True, True), data, objective=pyvae.objectives.InfoVAE(), epochs=1, progress=False)
