"""The public network that finds exchanged limb electrodes (Huang, Wang, Li and Cai, Physiol Meas 2024): for comparison.

Its weights lie at ../shared/peers/lead_swap and are never shipped. The layers follow from their shapes and from the
paper: a stem, three dense blocks of a narrow and a wide convolution, the mean over time, and a softmax.
"""

from pathlib import Path

import numpy as np
from scipy.signal import butter, resample, sosfiltfilt

from schemas.ecg_record import LEADS

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "peers" / "lead_swap" / "limb_swap_ldensenet.npz"
ANSWERS = ("", "RA-LA", "RA-LL", "LA-LL")
RATE_HZ = 120
BLOCKS = 3


class PeerNetwork:
    """The network, with its own preprocessing."""

    def __init__(self):
        with np.load(WEIGHTS) as file:
            self.layers = [
                tuple(file[f"layer_with_weights-{i}/{name}"] for name in ("kernel", "bias"))
                for i in range(2 * BLOCKS + 2)
            ]

    def probabilities(self, signals_mv, rate_hz):
        """Return the probabilities of `ANSWERS` for an ECG (12, samples)."""
        inputs = [prepared(signals_mv[LEADS.index(name)], rate_hz) for name in ("III", "aVR", "V6")]
        x = convolved(np.stack(inputs, axis=1), *self.layers[0], stride=2)
        x = pooled(x)
        for block in range(BLOCKS):
            narrow = convolved(x, *self.layers[1 + 2 * block])
            x = np.concatenate([x, convolved(narrow, *self.layers[2 + 2 * block])], axis=1)
        kernel, bias = self.layers[-1]
        logits = x.mean(axis=0) @ kernel + bias
        shares = np.exp(logits - logits.max())
        return shares / shares.sum()


def prepared(lead, rate_hz):
    band = butter(5, (0.5, 35), "bandpass", fs=rate_hz, output="sos")
    filtered = resample(sosfiltfilt(band, lead.astype(np.float64)), int(len(lead) / rate_hz * RATE_HZ))
    return (filtered - filtered.mean()) / max(filtered.std(), 1e-9)


def padded(x, size, stride, fill):
    """Return x with the "same" padding of TensorFlow."""
    whole = max((-(-len(x) // stride) - 1) * stride + size - len(x), 0)
    return np.pad(x, ((whole // 2, whole - whole // 2), (0, 0)), constant_values=fill)


def convolved(x, kernel, bias, stride=1):
    windows = np.lib.stride_tricks.sliding_window_view(padded(x, len(kernel), stride, 0), len(kernel), axis=0)[::stride]
    y = np.einsum("tcs,sco->to", windows, kernel, optimize=True) + bias
    return y / (1 + np.exp(-y))


def pooled(x):
    return np.lib.stride_tricks.sliding_window_view(padded(x, 3, 2, -np.inf), 3, axis=0)[::2].max(axis=-1)
