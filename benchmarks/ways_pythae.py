"""Training with pythae: its VAE, with our networks, and its trainer."""

import contextlib
import io
import logging
import tempfile

from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn, zeros

from benchmarks.autoencoder import Autoencoder
from benchmarks.ways import LEARNING_RATE, NotApplicable
from benchmarks.workloads import Workload

__all__ = ["PythaeTrainer", "pythae_vae"]


class _Encoder(BaseEncoder):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> ModelOutput:
        loc, log_variance = self.network(x).chunk(2, -1)
        return ModelOutput(embedding=loc, log_covariance=log_variance)


class _Decoder(BaseDecoder):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z).sigmoid())


def pythae_vae(autoencoder: Autoencoder, shape: tuple[int, ...]) -> VAE:
    """pythae's VAE with the networks of ours."""
    latent_dim = autoencoder.encoder[-1].out_features // 2
    config = VAEConfig(input_dim=shape, latent_dim=latent_dim, reconstruction_loss="bce")
    return VAE(config, encoder=_Encoder(autoencoder.encoder), decoder=_Decoder(autoencoder.decoder))


class PythaeTrainer:
    """The epochs of BaseTrainer, DataLoader and callbacks included; what it prints is thrown away.

    Left out, in pythae's favour, is what train() does between epochs: it keeps a copy of the best model.
    """

    def __init__(self, workload: Workload, data: Tensor, batch_size: int, seed: int) -> None:
        module = workload.seeded(seed).by_hand
        if not isinstance(module, Autoencoder):
            raise NotApplicable("pythae has no chains of latents")
        self._directory = tempfile.TemporaryDirectory()  # goes when the way does
        self._number = 0
        logging.getLogger("pythae").setLevel(logging.WARNING)
        config = BaseTrainerConfig(
            output_dir=self._directory.name,
            per_device_train_batch_size=batch_size,
            learning_rate=LEARNING_RATE,
            no_cuda=True,
            seed=seed,
        )
        with _silence():
            dataset = BaseDataset(data, zeros(len(data)))
            self._trainer = BaseTrainer(pythae_vae(module, workload.shape), dataset, training_config=config)
            self._trainer.prepare_training()

    def epoch(self) -> float:
        """One pass over the data."""
        self._number += 1
        with _silence():
            return float(self._trainer.train_step(self._number))


@contextlib.contextmanager
def _silence() -> contextlib.AbstractContextManager[None]:
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
