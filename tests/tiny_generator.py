"""A cine generator of a few thousand weights, none of them nothing, so that every input matters."""

import torch

from inference.generator_export import describe_untrained
from inference.models.cine_mar import CineMar
from inference.models.cine_presets import CinePreset, MarSizes, VaeSizes
from inference.models.cine_vae import CineVae
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
    """The autoencoder and the transformer; the layers that begin at nothing are drawn too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae, mar = CineVae(SMALL), CineMar(SMALL)
        with torch.no_grad():
            for parameter in mar.denoiser.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
            mar.transformer.condition[1].weight.mul_(20)
    return vae.eval(), mar.eval()


def small_manifest(means=(0.0, 0.0), deviations=(1.0, 1.0)):
    """Its manifest."""
    return describe_untrained(SMALL, means, deviations)
