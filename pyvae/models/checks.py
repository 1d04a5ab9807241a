"""The check that components fit each other, made once, when a pair is built: its programs are run on two data."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from traceback import walk_tb
from types import FrameType

import pyro
from pyro import poutine
from pyro.distributions import Distribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyvae.core.modules import evaluation_mode, isolated_param_store
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import RUN_ERRORS, PairError, PyvaeError

__all__ = ["check_modules", "check_programs", "named_failures"]

_BATCH = 2  # data that a pair is tried on
_Site = tuple[str, Distribution, Tensor]  # the roles of the components that made it, the distribution, the value


def check_modules(pair: nn.Module, *roles: str) -> None:
    """Refuse components that are no modules; the role "context" may be None.

    Raises:
        PairError: naming the role.
    """
    for role in roles:
        component = getattr(pair, role)
        if not isinstance(component, nn.Module) and (role, component) != ("context", None):
            raise PairError(f"{role} is a {type(component).__name__}; expected a torch.nn.Module")


def check_programs(family: type, pair: nn.Module, context: nn.Module | None = None) -> Tensor | None:
    """Generate two data, infer their latents, and compare the sites; give the data, or None if nothing could be tried.

    Random streams, param store, modes and buffers stay as they are.

    Args:
        family: the class with ``model``, which generates, and ``guide``; those of a class derived from it may need what
            its constructor has yet to make.
        pair: the components.
        context: of labels that both programs need. One whose labels cannot be guessed (it has no attribute
            ``example``) leaves the check to the first use.

    Raises:
        PairError: naming the component, what came and what was expected.
    """
    example = getattr(context, "example", None)
    if context is not None and example is None:
        return None
    model, store = _Run(pair), isolated_param_store(tuple(pyro.get_param_store()))  # a component may look into it
    with evaluation_mode(pair), isolated_rng(), store, poutine.block():
        x = model(family.model, None, example, _BATCH)
        _Run(pair, model.sites)(family.guide, x, example)
    return x


@contextmanager
def named_failures(pair: nn.Module) -> Iterator[None]:
    """Turn an error in a component of the pair into one that names its role.

    Raises:
        PairError: with the shapes of its inputs, unless the component has said itself what is wrong.
    """
    try:
        yield
    except RUN_ERRORS as error:
        roles = _roles(pair)
        for frame, _ in walk_tb(error.__traceback__):  # from the outermost call
            component = frame.f_locals.get("self")
            if isinstance(component, nn.Module) and component in roles:
                failed = f"{type(component).__name__} failed on {_inputs(frame)}: "
                said = "" if isinstance(error, PyvaeError) else failed
                raise PairError(f"{roles[component]}: {said}{error}") from error
        raise


class _Run(Messenger):
    """A run of a program: its sites, compared with those of the other program, and the components they come from."""

    def __init__(self, pair: nn.Module, others: dict[str, _Site] | None = None) -> None:
        super().__init__()
        self.pair, self.roles, self.others = pair, _roles(pair), others or {}
        self.calls: list[tuple[nn.Module, object]] = []  # components since the last site, and what they gave
        self.sites: dict[str, _Site] = {}

    def __call__(self, program: Callable[..., Tensor], *args: object) -> Tensor:
        """What the program returns, or an error that names a component."""
        try:
            with named_failures(self.pair), ExitStack() as hooks, self:
                for component in self.roles:
                    hooks.enter_context(component.register_forward_hook(self._note))
                return program(self.pair, *args)
        except RUN_ERRORS as error:
            if isinstance(error, PyvaeError) or not self.calls:
                raise
            component, given = self.calls[-1]  # with which the program has failed
            if isinstance(given, Distribution):
                _check_batch(self.roles[component], given)
            got = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
            raise PairError(
                f"{self.roles[component]}: gave {got} for {_BATCH} datapoints; {program.__qualname__} failed on it: "
                f"{error}"
            ) from error

    def _note(self, component: nn.Module, inputs: tuple, output: object) -> None:
        self.calls.append((component, output))

    def _made_by(self) -> str:
        """The role of what gave the last distribution, or the roles of those of whose outputs it was made."""
        given = bool(self.calls) and isinstance(self.calls[-1][1], Distribution)
        roles = dict.fromkeys(self.roles[component] for component, _ in self.calls[-1 if given else 0 :])
        return " and ".join(role for role in roles if role != "context") or type(self.pair).__name__

    def _pyro_param(self, msg: dict) -> None:
        if isinstance(msg["args"][-1], nn.Parameter):  # registered at the first use: a lazy one has no shape yet
            msg["value"], msg["done"] = msg["args"][-1], True

    def _pyro_sample(self, msg: dict) -> None:
        if not isinstance(msg["fn"], Distribution):
            component, given = self.calls[-1]
            raise PairError(
                f"{self.roles[component]}: {type(component).__name__} returned {type(given).__name__}; expected a Pyro "
                "distribution, such as Normal(loc, scale).to_event(1)"
            )

    def _pyro_post_sample(self, msg: dict) -> None:
        if not site_is_subsample(msg):
            name, site = msg["name"], (self._made_by(), msg["fn"], msg["value"])
            _check_batch(*site[:2])
            if name in self.others:  # components may have sites of their own
                _compare(name, site, self.others[name])
            self.sites[name] = site
            self.calls.clear()


def _compare(name: str, guide: _Site, model: _Site) -> None:
    """Refuse two distributions of one site of which one has no density where the other draws."""
    (role, q, z), (other, p, drawn) = guide, model
    if q.event_shape != p.event_shape:
        raise PairError(
            f"{role}: event shape {tuple(q.event_shape)} of {name}; expected that of the {other}, "
            f"{tuple(p.event_shape)}"
        )
    if not (_holds(p, z) and _holds(q, drawn)):
        raise PairError(f"{role}: the support of {name} is {q.support}; expected that of the {other}, {p.support}")


def _check_batch(role: str, distribution: Distribution) -> None:
    if tuple(distribution.batch_shape) not in ((), (1,), (_BATCH,)):
        raise PairError(
            f"{role}: batch shape {tuple(distribution.batch_shape)} and event shape {tuple(distribution.event_shape)} "
            f"for {_BATCH} datapoints; expected batch shape ({_BATCH},): move the other dimensions into the event with "
            ".to_event(n)"
        )


def _roles(pair: nn.Module) -> dict[nn.Module, str]:
    """The components of a pair and their names, those in a list as ``transitions[0]``."""
    roles = {child: name for name, child in pair.named_children()}
    for child, name in list(roles.items()):
        if isinstance(child, nn.ModuleList):
            roles |= {component: f"{name}[{i}]" for i, component in enumerate(child)}
    return roles


def _holds(distribution: Distribution, value: Tensor) -> bool:
    """Whether values lie in the support, where that is known."""
    try:
        return bool(distribution.support.check(value).all())
    except NotImplementedError:
        return True


def _inputs(frame: FrameType) -> str:
    """The tensors that a function was called with."""
    names, rest, _, values = inspect.getargvalues(frame)
    inputs = [*(values[name] for name in names), *values.get(rest, ())]
    return ", ".join(f"{tuple(t.shape)} ({t.dtype})" for t in inputs if isinstance(t, Tensor)) or "no input"
