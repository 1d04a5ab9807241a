"""Settings of an optimizer that are tensors resume with the same bits, and what cannot be saved is refused at once."""

import functools

import pytest
import torch

import pyvae

from .test_resume import assert_same_run


def train(directory, epochs, optimizer, schedule=None):
    torch.manual_seed(0)
    vae = pyvae.recipes.gaussian(shape=(6,), latent_dim=2, hidden=[8])
    made = []

    def remembered(parameters):
        made.append(optimizer(list(parameters)))
        return made[0]

    arguments = {"batch_size": 10, "epochs": epochs, "seed": 1, "resume": True, "progress": False}
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0)).round()
    pyvae.fit(vae, x, optimizer=remembered, schedule=schedule, checkpoint_dir=directory, **arguments)
    return vae, made[0]


def adam(parameters):
    return torch.optim.Adam(parameters, lr=torch.tensor(1e-3))


def sgd_in_groups(parameters):
    """All groups share one tensor."""
    halves = [{"params": parameters[:3]}, {"params": parameters[3:], "momentum": 0.5}]
    return torch.optim.SGD(halves, lr=torch.tensor(1e-2))


def betas(parameters):
    return torch.optim.Adam(parameters, lr=torch.tensor(1e-3), betas=(torch.tensor(0.8), torch.tensor(0.9)))


SCHEDULES = [
    None,
    functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.7),
    functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=3),
    functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.01, total_steps=6, cycle_momentum=False),
    functools.partial(torch.optim.lr_scheduler.ReduceLROnPlateau, factor=0.3, patience=0, threshold=0.5),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s and s.func.__name__)
@pytest.mark.parametrize("optimizer", [adam, sgd_in_groups, betas], ids=lambda o: o.__name__)
def test_tensors_among_the_settings_resume(tmp_path, optimizer, schedule):
    straight, expected = train(tmp_path / "straight", 4, optimizer, schedule)
    for epochs in (1, 3, 4):
        resumed, made = train(tmp_path / "resumed", epochs, optimizer, schedule)
    assert_same_run(tmp_path / "straight", tmp_path / "resumed")
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), resumed.parameters(), strict=True))
    for group, other in zip(made.param_groups, expected.param_groups, strict=True):
        assert type(group["lr"]) is type(other["lr"])  # some schedules of older versions of torch make it a float
        assert float(group["lr"]) == float(other["lr"])
        assert isinstance(group.get("betas", ()), tuple)
        assert str(group.get("betas")) == str(other.get("betas"))
    assert len({id(g["lr"]) for g in made.param_groups}) == len({id(g["lr"]) for g in expected.param_groups})


def test_another_tensor_is_another_setting(tmp_path):
    train(tmp_path, 1, functools.partial(torch.optim.Adam, lr=torch.tensor(1e-3)))
    with pytest.raises(pyvae.CheckpointError, match="lr"):
        train(tmp_path, 2, functools.partial(torch.optim.Adam, lr=torch.tensor(1.00001e-3)))


class WithRule(torch.optim.SGD):
    """It has a function among its settings."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1)
        self.param_groups[0]["rule"] = torch.sign


def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(pyvae.CheckpointError, match=r"settings cannot be saved: 'rule' is .*sign"):
        train(tmp_path / "run", 1, WithRule)
    assert not (tmp_path / "run").exists()


class WithExtraState(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)

    def get_extra_state(self):
        return {"calls": 3}


def test_extra_state_that_is_no_tensor_is_named(tmp_path):
    with pytest.raises(pyvae.CheckpointError, match=r"'_extra_state' is a dict; expected a tensor"):
        pyvae.save(tmp_path / "module.safetensors", WithExtraState())
