"""A cine generator of a few thousand weights, none of them nothing, so that every input matters."""

import torch

from inference.generator_export import describe_untrained
from inference.models.cine_mar import CineMar
from inference.models.cine_presets import CinePreset, MarSizes, VaeSizes
from inference.models.cine_vae import CineVae
from inference.models.expected_cine import PATTERNS, ExpectedCine
from inference.models.presets import Preset

SMALL = CinePreset(
    name="small",
    cine=(10, 32, 32),
    reduction=(5, 3, 3),
    vae=VaeSizes(
        fold=(5, 4, 4),
        channels=(8, 8),
        strides=((1, 2, 2),),
        blocks=1,
        kernels=((1, 3, 3), (3, 1, 1)),
        edge_kernel=(1, 1, 1),
        groups=4,
        latent_channels=2,
    ),
    mar=MarSizes(
        patch=(2, 2, 2),
        blocks=Preset("mar", width=16, depth=1, heads=2, mlp_width=32),
        buffers=2,
        denoiser_width=16,
        denoiser_depth=1,
    ),
    steps=3,
    diffusion_steps=4,
    guidance=2.0,
)


def draw_networks():
    """The autoencoder, the transformer and the expected cine; what begins at nothing is drawn too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae, mar, expected = CineVae(SMALL), CineMar(SMALL), ExpectedCine(SMALL.cine)
        with torch.no_grad():
            for parameter in mar.denoiser.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
            mar.transformer.condition[1].weight.mul_(20)
            pixels = expected.mean_cine.numel()
            mean, patterns = torch.rand(pixels) - 0.5, torch.randn(PATTERNS, pixels) / 4
            expected.fit(torch.zeros(256), torch.randn(256, PATTERNS) / 4, mean, patterns)
    return vae.eval(), mar.eval(), expected.eval()


def small_manifest(means=(0.0, 0.0), deviations=(1.0, 1.0)):
    """Its manifest."""
    return describe_untrained(SMALL, means, deviations)
