"""The semi-supervised VAE, which infers missing labels."""

import math
from numbers import Real

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.core.modules import evaluation_mode
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import ArgumentError, DataError
from pyvae.models.arguments import check_given, check_numbers, count_data
from pyvae.models.checks import BATCH, call_component, call_named, check_event, check_modules
from pyvae.models.registration import register

__all__ = ["SemiSupervisedVAE"]

_IMPOSSIBLE = -1e4  # a log probability; of −∞, no expectation could be taken


class SemiSupervisedVAE(nn.Module):
    r"""The semi-supervised VAE (M2), for data of which only some have labels.

    .. math:: p(x, y, z) = p(y) \, p(z) \, p(x \mid y, z), \qquad q(y, z \mid x) = q(y \mid x) \, q(z \mid x, y)

    The labels y are integers, and −1 where they are not known. Of a datapoint with a label, q(y | x) puts all mass on
    it, and the ELBO bounds log p(x, y); of others it bounds log p(x). In training, the model's factor
    ``classification``, α log q(y | x), lets the classifier learn from labels as well; figures of the training contain
    it, those of validation and evaluation do not. Sums over labels cannot be compiled: training is eager.

    Sites: ``y``, ``z`` and ``x`` in the plate ``"data"``. The guide asks for y to be enumerated, with which
    ``TraceEnum_ELBO`` sums over it; :func:`pyvae.fit` does. Other objectives, and ``enumerated=False``, draw it.

    Args:
        prior: p(z), called as ``prior(c)`` with c the label as a one-hot vector, of which it need not know.
        likelihood: p(x | y, z), called as ``likelihood(z, c)``.
        posterior: q(z | x, y), called as ``posterior(x, c)``.
        classifier: a network from x to the logits of q(y | x), (…, K).
        context: c, from labels to vectors; :class:`pyvae.networks.OneHot`.
        num_classes: K; p(y) is uniform.
        classification_weight: α, in nats per datapoint with a label.
        enumerated: whether the sum over y is asked for; else y is drawn, of which the gradient is noisy.

    Raises:
        PairError: if a component does not return what it should, or shapes do not fit.
        ArgumentError: if K is less than 2, or α negative.
        DataError: when run, if the labels are not integers in [−1, K).

    References:
        Kingma, Rezende, Mohamed and Welling, *Semi-supervised learning with deep generative models*, 2014, equations
        6 to 9 (the model M2).

    Example:
        >>> from pyro.infer import SVI, TraceEnum_ELBO
        >>> import pyvae
        >>> pair = pyvae.recipes.semi_supervised(shape=(5,), num_classes=3, latent_dim=2, hidden=[8])
        >>> svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), TraceEnum_ELBO(max_plate_nesting=1))
        >>> loss = svi.step(torch.rand(4, 5).round(), torch.tensor([2, -1, -1, 0]))
        >>> pair.classify(torch.rand(4, 5)).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        prior: nn.Module,
        likelihood: nn.Module,
        posterior: nn.Module,
        classifier: nn.Module,
        context: nn.Module,
        num_classes: int,
        classification_weight: float = 50.0,
        enumerated: bool = True,
    ) -> None:
        super().__init__()
        check_int("num_classes", num_classes, 2)
        if not isinstance(classification_weight, Real) or not 0 <= classification_weight < math.inf:
            raise ArgumentError(f"classification_weight is {classification_weight!r}; expected no negative number")
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior
        self.classifier = classifier
        self.context = context
        self.num_classes = num_classes
        self.classification_weight = classification_weight
        self.enumerated = enumerated
        check_modules(self, "prior", "likelihood", "posterior", "classifier", "context")
        self._check()

    def model(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The generative program p(x, y, z), which returns x, drawn or as given.

        Without x, it is drawn from the classes y where these are known.
        """
        register(self)
        count, y = count_data(x, y, size), self._checked(y)
        p_y = self._labels(torch.zeros(count, self.num_classes, **self._as_parameters()), y if x is None else None)
        with pyro.plate("data", count):
            c = self.context(pyro.sample("y", p_y))
            z = pyro.sample("z", self.prior(c))
            if self.training and x is not None and y is not None and self.classification_weight:
                pyro.factor("classification", self.classification_weight * self._log_probability(x, y))
            return pyro.sample("x", self.likelihood(z, c), obs=x)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The inference program q(y, z | x), which returns a sample of z."""
        check_given(x)
        register(self)
        count_data(x, y, size)
        y = self._checked(y)
        q_y = self._labels(self.classifier(x), y)
        with pyro.plate("data", len(x)):
            k = pyro.sample("y", q_y, infer={"enumerate": "parallel"} if self.enumerated else {})
            return pyro.sample("z", self.posterior(x, self.context(k)))

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """The class probabilities q(y | x), (N, K).

        Raises:
            DataError: if the data are not finite.
        """
        check_numbers(self, x)
        with evaluation_mode(self):
            return self.classifier(x).softmax(-1)

    def _labels(self, logits: Tensor, y: Tensor | None) -> dist.Categorical:
        """The distribution of these logits, or all mass on the labels that are known."""
        if y is None:
            return dist.Categorical(logits=logits)
        known = y >= 0
        certain = torch.full_like(logits, _IMPOSSIBLE).scatter(-1, y.clamp(min=0)[..., None], 0.0)
        return dist.Categorical(logits=torch.where(known[..., None], certain, logits))

    def _log_probability(self, x: Tensor, y: Tensor) -> Tensor:
        """log q(y | x) of the labels that are known, and 0 for the others."""
        log_q = self.classifier(x).log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
        return torch.where(y >= 0, log_q, 0.0)

    def _checked(self, y: Tensor | None) -> Tensor | None:
        if y is None:
            return None
        if y.dim() != 1:
            raise DataError(f"labels have shape {tuple(y.shape)}; expected one integer for each datapoint")
        if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
            raise DataError(f"labels have dtype {y.dtype}; expected integers, and -1 where they are not known")
        y = y.long()
        # looked at with all else that is validated
        if pyro.infer.util.is_validation_enabled() and not bool(((y >= -1) & (y < self.num_classes)).all()):
            raise DataError(
                f"labels lie in [{int(y.min())}, {int(y.max())}]; expected -1, where they are not known, to "
                f"{self.num_classes - 1}"
            )
        return y

    def _as_parameters(self) -> dict[str, object]:
        like = next(self.classifier.parameters(), torch.zeros(()))
        return {"dtype": like.dtype, "device": like.device}

    def _check(self) -> None:
        """Pass two datapoints through all components, and compare the shapes."""
        with evaluation_mode(self), isolated_rng():
            c = call_named(
                "context", self.context, torch.zeros(BATCH, dtype=torch.long).to(self._as_parameters()["device"])
            )
            p_z = call_component("prior", self.prior, c)
            z = p_z.expand(torch.Size([BATCH])).sample()
            x = call_component("likelihood", self.likelihood, z, c).expand(torch.Size([BATCH])).sample()
            check_event("posterior", call_component("posterior", self.posterior, x, c), p_z, "prior")
            logits = call_named("classifier", self.classifier, x)
            if logits.shape != (BATCH, self.num_classes):
                raise ArgumentError(
                    f"classifier returned shape {tuple(logits.shape)} for {BATCH} datapoints; expected ({BATCH}, "
                    f"{self.num_classes}), the logits of num_classes={self.num_classes}"
                )
