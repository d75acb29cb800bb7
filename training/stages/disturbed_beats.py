"""Disturbs typical beats, batch by batch, so that nothing is learned that holds in simulated hearts alone.

Leads leak into each other, waves grow, shrink and vanish, and the noise differs. Above all, the limb leads' QRS complex
and T wave are mirrored as an exchange of the left arm and the left foot does it, in every other beat. That exchange
mirrors the frontal plane about an axis of +30 degrees, about which the normal range of the QRS axis, -30 to +90, lies
evenly (Surawicz and Knilans, Chou's Electrocardiography): a mirrored normal complex is a normal complex. Simulated
complexes tell the two apart nevertheless, by how exactly a simulated chest follows a dipole; real ones do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch  # noqa: TID253 - batches are tensors
from torch import Generator, Tensor  # noqa: TID253

from inference.electrode_exchanges import LIMB_EXCHANGES
from inference.lead_swaps import LEAST_MV
from inference.typical_beat import CHEST_LEADS, LIMB_LEADS, QRS, SPANS

WAVES = (slice(0, QRS.start), QRS, slice(QRS.stop, SPANS))
"""P, QRS and T."""
SIZES, LEAD_SIZES = (0.35, 0.15, 0.40), (0.10, 0.05, 0.25)
"""Standard deviation of the logarithm of a wave's size in all leads, and of its size in each lead."""
VANISHES = (0.10, 0.03, 0.12)
MIRRORED, T_ALONE = 0.5, 0.3
"""So many beats have limb leads that are mirrored, and in so many the T wave is mirrored where the QRS is not."""
INDEPENDENT = (0, 1, 3, 4, 5, 6, 7, 8)
"""I, II and V1 to V6: III follows from the first two."""
LEAKS = ((0.12, 0.03), (0.10, 0.05))
"""How much of limb and chest leads comes into limb leads, and into chest leads."""
GAIN = 0.15
NOISE, NOISE_SPREAD = 0.02, 0.7
"""Median of a span's noise, relative to the QRS complex, and the standard deviation of its logarithm."""


class Disturber:
    """Disturbs beats with random numbers of its own."""

    def __init__(self, seed: int) -> None:
        self._generator = Generator().manual_seed(seed)

    def disturb(self, beats: Tensor) -> Tensor:
        """Return beats (n, 9, SPANS), leads that still fulfil Einthoven's law."""
        leads = beats[:, INDEPENDENT]
        limbs, chest = qrs_size(beats[:, LIMB_LEADS]), qrs_size(beats[:, CHEST_LEADS])
        sizes = torch.cat([limbs.expand(-1, 2, 1), chest.expand(-1, 6, 1)], dim=1)
        leads = self._mixed(leads / sizes)
        for wave, size, own, vanishes in zip(WAVES, SIZES, LEAD_SIZES, VANISHES, strict=True):
            kept = (self.uniform(len(leads), 1, 1) >= vanishes).float()
            factor = torch.exp(self.normal(len(leads), 1, 1) * size) * (1 + self.normal(len(leads), 8, 1) * own)
            leads[..., wave] = leads[..., wave] * factor * kept
        noise = NOISE * torch.exp(NOISE_SPREAD * self.normal(len(leads), 1, 1))
        leads = (leads + noise * self.normal(*leads.shape)) * sizes
        return torch.cat([leads[:, :2], leads[:, 1:2] - leads[:, :1], leads[:, 2:]], dim=1)

    def mirror(self, beats: Tensor) -> Tensor:
        """Return beats of which some have limb leads with QRS and T mirrored about +30 degrees."""
        complexes = self.uniform(len(beats)) < MIRRORED
        t_waves = complexes ^ (self.uniform(len(beats)) < T_ALONE)
        undone = torch.from_numpy(LIMB_EXCHANGES["LA-LL"])
        limbs = beats[:, LIMB_LEADS].clone()
        for mirrored, wave in ((complexes, WAVES[1]), (t_waves, WAVES[2])):
            limbs[mirrored, :, wave] = undone @ limbs[mirrored, :, wave]
        return torch.cat([limbs, beats[:, CHEST_LEADS]], dim=1)

    def exchange(self, beats: Tensor, undone: Tensor, moved: slice, share: float) -> tuple[Tensor, Tensor]:
        """Return beats of which a share has leads exchanged, and for each the number of its exchange, 0 for none."""
        drawn = torch.randint(1, len(undone), (len(beats),), generator=self._generator)
        which = drawn * (self.uniform(len(beats)) < share)
        changed = beats.clone()
        changed[:, moved] = undone[which] @ beats[:, moved]
        return changed, which

    def rows(self, count: int, of: int) -> Tensor:
        """Return so many random row numbers."""
        return torch.randint(of, (count,), generator=self._generator)

    def normal(self, *shape: int) -> Tensor:
        """Return numbers of the normal distribution."""
        return torch.randn(*shape, generator=self._generator)

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers from 0 to 1."""
        return torch.rand(*shape, generator=self._generator)

    def _mixed(self, leads: Tensor) -> Tensor:
        n = len(leads)
        leak = torch.cat([_rows(LEAKS[0], 2), _rows(LEAKS[1], 6)]) * self.normal(n, 8, 8) * 1.5 * self.uniform(n, 1, 1)
        return (leads + leak @ leads) * torch.exp(GAIN * self.normal(n, 8, 1))


def _rows(leaks: Sequence[float], rows: int) -> Tensor:
    limb, chest = leaks
    return torch.tensor([[limb] * 2 + [chest] * 6]).expand(rows, -1)


def qrs_size(leads: Tensor) -> Tensor:
    """Return the size (n, 1, 1) of the QRS complex in leads (n, leads, SPANS), as a scorer sees it."""
    return leads[..., QRS].square().mean(dim=(1, 2), keepdim=True).sqrt() + float(LEAST_MV)
