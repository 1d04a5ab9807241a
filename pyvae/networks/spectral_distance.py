"""A distance between audio signals."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_positive
from pyvae.errors import ArgumentError
from pyvae.networks.shapes import as_widths

__all__ = ["SpectralDistance"]


class SpectralDistance(nn.Module):
    r"""A distance between signals that compares log spectrograms at several resolutions, and so ignores phases.

    .. math:: d(x, y) = \frac w2 \sum_r \operatorname*{mean}_{t, f} |\ell_r(x) - \ell_r(y)|, \qquad
        \ell_r = \log(P_r + \varepsilon)

    A likelihood of single samples depends on phases, which are inaudible; this distance does not. P_r is the
    squared modulus of a short-time Fourier transform with a Hann window of length r and hops of r/4, scaled so that
    white noise of variance 1 has power 1.

    Args:
        weight: w.
        windows: the lengths r, in samples.
        floor: ε, the power that counts as silence.

    Raises:
        ArgumentError: if an argument is out of range; when called with signals shorter than half a window.

    References:
        Yamamoto, Song and Kim, *Parallel WaveGAN*, 2020, section 2.2; Dhariwal et al., *Jukebox*, 2020, section 3.4.

    Example:
        >>> x = torch.randn(7, 1, 2000)
        >>> SpectralDistance()(x, 2 * x).shape, SpectralDistance()(x, x).sum()
        (torch.Size([7]), tensor(0.))
    """

    def __init__(self, weight: float = 1.0, windows: Sequence[int] = (64, 256, 1024), floor: float = 1e-4) -> None:
        super().__init__()
        check_positive("weight", weight)
        check_positive("floor", floor)
        self.weight, self.floor = weight, floor
        if not as_widths(windows, "windows") or min(windows) < 4:
            raise ArgumentError(f"windows is {windows}; expected lengths of at least 4, such as [64, 256]")
        for index, length in enumerate(windows):
            window = torch.hann_window(length)
            self.register_buffer(f"window_{index}", window / window.square().sum().sqrt(), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The distances, (…), of signals (…, channels, length)."""
        if x.dim() < 2 or x.shape[-2:] != y.shape[-2:]:
            raise ArgumentError(
                f"got signals of shapes {tuple(x.shape)} and {tuple(y.shape)}; expected (…, channels, length)"
            )
        total = x.new_zeros(())
        for window in self.buffers():
            if x.shape[-1] <= len(window) // 2:
                raise ArgumentError(
                    f"the signals have {x.shape[-1]} samples; expected more than {len(window) // 2}, half of a window"
                )
            total = total + (self._log_power(x, window) - self._log_power(y, window)).abs().mean((-3, -2, -1)) / 2
        return self.weight * total

    def _log_power(self, x: Tensor, window: Tensor) -> Tensor:
        """log(|S x|² + ε), (…, channels, frequencies, times)."""
        flat = x.reshape(-1, x.shape[-1])
        transformed = torch.stft(flat, len(window), len(window) // 4, window=window, return_complex=True)
        power = torch.view_as_real(transformed).square().sum(-1)
        return (power + self.floor).log().reshape(*x.shape[:-1], *power.shape[1:])
