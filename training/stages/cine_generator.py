"""`cardiacnets train train-generator`: learns the cine to expect of an ECG, and to draw single cines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253 - Lightning
from einops import rearrange, reduce, repeat
from numpy.typing import NDArray
from torch import Tensor  # noqa: TID253
from torch.nn.functional import normalize  # noqa: TID253

from engines.whole_json import write_json
from inference.bundle import load_bundle
from inference.export import restore_network
from inference.generator import reduce_cines
from inference.manifest import InputSpec
from inference.models.cine_mar import CineMar, split_latents
from inference.models.cine_presets import CinePreset, find_cine_preset
from inference.models.cine_vae import CineVae
from inference.models.expected_cine import ExpectedCine
from inference.models.network import EcgNetwork
from inference.models.presets import find_preset
from inference.models.token_diffusion import diffusion_loss
from inference.verified_folder import MANIFEST
from schemas.errors import InvalidSettings
from schemas.messages import EMBEDDING_SIZE
from training.cohort.layout import Cohort
from training.cohort.whole_file import write_array
from training.networks.cmr_encoder import scale_cines
from training.networks.expectation import fit_expectation
from training.networks.kept_patches import draw_order, take
from training.networks.weights_files import WEIGHTS, above, below, load_weights, save_weights

from .batches import Batch, Rows, Scans
from .cine_autoencoder import STAGE as TRAIN_VAE
from .crops import iterate_screened
from .devices import choose_device, rows_at_once
from .finetune import STAGE as FINETUNE
from .fit import Learner
from .pretrain_cmr import scanned, scans_of
from .run_stage import RunningStage, run_stage
from .settings import Finetune, Hardware, SavedStruct, TrainGenerator, TrainVae
from .stage_folder import StageFolder, read_settings

STAGE = "train-generator"
LATENTS = "latents.npy"
EMBEDDINGS = "embeddings.npy"
SCALING = "scaling.json"
FITTED_AT_ONCE = 32
SCALED_AT_ONCE = 256
MASK_MEAN, MASK_DEVIATION = 1.0, 0.25


class Scaling(SavedStruct, frozen=True, kw_only=True):
    """The scale of each channel of the latents: latent = mean + deviation × the transformer's value."""

    preset: str
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def apply(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return latents (n, channel, time, y, x) of mean 0 and deviation 1."""
        means, deviations = (np.array(v, np.float32)[:, None, None, None] for v in (self.means, self.deviations))
        return np.asarray((latents - means) / deviations)


class LatentsByEcg(Rows):
    """Scaled latents with the embedding of an ECG of the same heart.

    Args:
        latents: (scans, channel, time, y, x).
        embeddings: (rows, 256) of the cohort's ECGs.
        scaling: of the training fold.
        cohort: tells the scan of each ECG.
        rows: from which is drawn.
    """

    def __init__(
        self,
        latents: NDArray[np.float32],
        embeddings: NDArray[np.float32],
        scaling: Scaling,
        cohort: Cohort,
        rows: NDArray[np.intp],
    ) -> None:
        super().__init__({"embeddings": embeddings}, rows)
        self._latents = Scans("latents", latents, cohort.cine[rows].astype(np.intp))
        self._scaling = scaling

    @property
    def size(self) -> int:
        """Bytes of all its rows."""
        return super().size + self._latents.size

    def read(self, places: NDArray[np.intp]) -> Batch:
        """Return the rows at these places of the data set."""
        latents = self._scaling.apply(self._latents.read(places)["latents"].numpy())
        return {"latents": torch.from_numpy(latents), **super().read(places)}


class GeneratorLearner(Learner):
    """Learns by the diffusion loss of hidden tokens."""

    def __init__(self, settings: TrainGenerator, preset: CinePreset, training_embeddings: Tensor) -> None:
        super().__init__(settings.learning, settings.seed)
        self.settings = settings
        self.preset = preset
        self.mar = CineMar(preset)
        self.mar.transformer.embedding_scale.fit_scale(training_embeddings)

    def losses(self, batch: Batch, *, training: bool) -> dict[str, Tensor]:
        """Return the loss; on the development fold nothing is dropped."""
        settings, embeddings = self.settings, batch["embeddings"]
        tokens = split_latents(batch["latents"], self.preset)
        order = draw_order(len(tokens), tokens.shape[1], tokens.device)
        n_known = tokens.shape[1] - math.ceil(draw_mask_share(settings.least_mask) * tokens.shape[1])
        guided = torch.rand(len(tokens), device=tokens.device) >= (settings.dropped if training else 0)
        conditions = self.mar.transformer(take(tokens, order[:, :n_known]), order, embeddings, guided.float())
        hidden = take(tokens, order[:, n_known:])
        return {
            "loss": diffusion_loss(self.mar.denoiser, *(_repeated(v, settings.noises) for v in (hidden, conditions)))
        }


def train_generator(
    cohort: Cohort, out: Path, settings: TrainGenerator, hardware: Hardware, *, vae: Path, ecg: Path
) -> StageFolder:
    """Learn to draw cines; write the weights `vae.*`, `mar.*` and `expected.*`, and the scaling.

    Args:
        cohort: with cines.
        out: the folder for the weights, and for the latents of the scans and the embeddings of the ECGs of the
            training and the development fold; both are NaN elsewhere.
        settings: what decides the result.
        hardware: where to learn.
        vae: folder of `train-vae`.
        ecg: a model bundle, or the folder of `finetune`; the generator learns with its embeddings.

    Raises:
        InvalidSettings: the cohort or a fold has no cines, or all embeddings of the ECG model are alike.
    """
    if cohort.cines is None:
        raise InvalidSettings(f"{cohort.folder} has no cines: a cine generator needs a cohort with cardiac MR")
    vae_settings: TrainVae = read_settings(vae, TRAIN_VAE, TrainVae)
    rows, development = scanned(cohort, "train"), scanned(cohort, "development")

    def learn(stage: RunningStage) -> dict[str, Any]:
        folder, preset, weights = stage.folder, find_cine_preset(vae_settings.preset), load_weights(vae / WEIGHTS)
        device = choose_device(hardware)
        latents = keep_latents(folder, cohort, preset, weights, device)
        embeddings = keep_embeddings(folder, cohort, ecg, device)
        scaling = fit_scaling(latents, scans_of(cohort, "train"), preset.name)
        drawn, fixed = (LatentsByEcg(latents, embeddings, scaling, cohort, some) for some in (rows, development))
        fitted = stage.fit(lambda: GeneratorLearner(settings, preset, torch.from_numpy(embeddings[rows])), drawn, fixed)
        # last, so that a stage that resumes does it once
        expected = learn_expectation(cohort, preset, embeddings, settings.shrinkage)
        weights |= above("mar.", below("mar.", fitted.weights)) | above("expected.", expected.state_dict())
        save_weights(folder.weights, weights)
        write_json(folder.path / SCALING, scaling)
        return fitted.result

    inputs = {"vae": vae / WEIGHTS, "ecg": ecg / WEIGHTS}
    return run_stage(out, STAGE, settings, cohort, hardware, learn=learn, **inputs)


def learn_expectation(
    cohort: Cohort, preset: CinePreset, embeddings: NDArray[np.float32], shrinkage: float
) -> ExpectedCine:
    """Return the expected cine of an embedding, fitted on the training fold."""
    rows = scanned(cohort, "train")
    expected = ExpectedCine(preset.cine)
    with torch.inference_mode():
        cines = (scale_cines(cines) for _, cines in iterate_cines(cohort, cohort.cine[rows], preset, FITTED_AT_ONCE))
        fit_expectation(expected, torch.from_numpy(embeddings[rows]), cines, shrinkage)
    return expected


def iterate_cines(
    cohort: Cohort, scans: NDArray[np.integer], preset: CinePreset, at_once: int
) -> Iterator[tuple[NDArray[np.integer], Tensor]]:
    """Yield some of the scans and their cines (k, frame, y, x) uint8, in order and in the generator's geometry."""
    assert cohort.cines is not None  # noqa: S101 - refused by the stage
    for start in range(0, len(scans), at_once):
        some = scans[start : start + at_once]
        yield some, torch.from_numpy(reduce_cines(cohort.cines[some], preset.reduction))


def keep_latents(
    folder: StageFolder, cohort: Cohort, preset: CinePreset, weights: dict[str, Tensor], device: torch.device
) -> NDArray[np.float32]:
    """Return the means of the latents (scans, channel, time, y, x). They are computed once and kept in the folder."""
    path = folder.path / LATENTS
    if not path.exists():
        vae = CineVae(preset).eval()
        vae.load_state_dict(below("vae.", weights))
        vae.to(device)
        scans = np.union1d(scans_of(cohort, "train"), scans_of(cohort, "development"))
        shape = (cohort.description.scans, *preset.latent)
        with write_array(path, np.float32, shape) as latents, torch.inference_mode():  # of a biobank: 40 GB
            latents[np.setdiff1d(np.arange(len(latents)), scans)] = np.nan
            for some, cines in iterate_cines(cohort, scans, preset, rows_at_once(device)):
                latents[some] = vae.encode(scale_cines(cines.to(device))[:, None]).mean.cpu().numpy()
    kept: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return kept


def keep_embeddings(folder: StageFolder, cohort: Cohort, ecg: Path, device: torch.device) -> NDArray[np.float32]:
    """Return the embeddings of the ECGs (rows, 256). They are computed once and kept in the folder."""
    path = folder.path / EMBEDDINGS
    if not path.exists():
        network, n_crops = open_ecg_network(ecg)
        rows = np.union1d(scanned(cohort, "train"), scanned(cohort, "development"))
        with write_array(path, np.float32, (len(cohort), EMBEDDING_SIZE)) as embeddings:
            embeddings[:] = np.nan
            embeddings[rows] = embed_ecgs(network, cohort, rows, n_crops, device)
    kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return kept


def embed_ecgs(
    network: EcgNetwork, cohort: Cohort, rows: NDArray[np.intp], n_crops: int, device: torch.device
) -> NDArray[np.float32]:
    """Return the embeddings (k, 256) as reports of the rows would carry them: the mean over the crops, of length 1."""
    embedded = []
    network.to(device)
    with torch.inference_mode():
        for crops in iterate_screened(cohort, rows, n_crops, device):
            answers = network.alignment(network.encoder(crops))
            embedded.append(normalize(reduce(answers, "(row crop) size -> row size", "mean", crop=n_crops), dim=1))
    embeddings: NDArray[np.float32] = torch.cat(embedded).cpu().numpy()
    return embeddings


def open_ecg_network(folder: Path) -> tuple[EcgNetwork, int]:
    """Return the network of a bundle or of the stage `finetune`, and the number of crops to average.

    Raises:
        InvalidSettings: all embeddings of the bundle are alike, so that every ECG would get the same heart.
    """
    if (folder / MANIFEST).exists():
        bundle = load_bundle(folder)
        network = restore_network(bundle)
        if not network.alignment.projection.weight.any():
            raise InvalidSettings(
                f"the model in {folder} was aligned with no cardiac MR, so all its embeddings are alike: "
                "name a model that was aligned"
            )
        return network, bundle.manifest.input.n_crops
    settings: Finetune = read_settings(folder, FINETUNE, Finetune)
    network = EcgNetwork(find_preset(settings.preset))
    network.load_state_dict(load_weights(folder / WEIGHTS))
    return network.eval(), InputSpec().n_crops


def fit_scaling(latents: NDArray[np.float32], training_scans: NDArray[np.intp], preset: str) -> Scaling:
    """Return each channel's mean and deviation over the training fold."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for start in range(0, len(training_scans), SCALED_AT_ONCE):
        some = latents[training_scans[start : start + SCALED_AT_ONCE]].astype(np.float64)
        scaler.partial_fit(rearrange(some, "scan channel time y x -> (scan time y x) channel"))
    deviations = np.maximum(np.sqrt(scaler.var_), 1e-6)
    return Scaling(preset=preset, means=tuple(scaler.mean_.tolist()), deviations=tuple(deviations.tolist()))


def draw_mask_share(least: float) -> float:
    """Return a share in [least, 1]: normal about 1 with deviation 0.25, truncated; from torch's random numbers."""
    lowest = torch.special.ndtr(torch.tensor((least - MASK_MEAN) / MASK_DEVIATION, dtype=torch.float64))
    place = lowest + (0.5 - lowest) * torch.rand((), dtype=torch.float64)
    return min(1.0, MASK_MEAN + MASK_DEVIATION * float(torch.special.ndtri(place)))


def _repeated(tokens: Tensor, times: int) -> Tensor:
    return repeat(tokens, "row token size -> (times row token) size", times=times)
