"""`cardiacnets train package-generator`: writes the trained cine generator as a folder that serves without torch."""

from __future__ import annotations

from pathlib import Path

import msgspec

from inference.bundle import load_bundle
from inference.generator_export import describe_untrained, package_generator
from inference.generator_manifest import EcgModel, GeneratorFolder, GeneratorManifest
from inference.models.cine_mar import CineMar
from inference.models.cine_presets import find_cine_preset
from inference.models.cine_vae import CineVae
from inference.models.expected_cine import ExpectedCine
from training.cohort.layout import Cohort
from training.cohort.provenance import SIMULATED, describe_cohort
from training.networks.weights_files import WEIGHTS, below, load_weights

from .cine_generator import SCALING, Scaling
from .cine_generator import STAGE as TRAIN_GENERATOR
from .settings import TrainGenerator
from .stage_folder import StageFolder, check_cohort, check_input, read_settings


def package_cines(
    out: Path,
    learned: Path,
    cohort: Cohort,
    *,
    ecg: Path,
    guidance: float | None = None,
    temperature: float = 1.0,
    steps: int | None = None,
    diffusion_steps: int | None = None,
) -> GeneratorFolder:
    """Write the generator into `out`, and return it.

    Args:
        out: the folder; a generator in it is replaced.
        learned: folder of `train-generator`.
        cohort: on which the generator was trained; the manifest describes it.
        ecg: the model bundle with whose embeddings the generator was trained. The manifest names the bundle, and the
            generator refuses embeddings of other models.
        guidance: None: the preset's. Choose this and the following on the development fold.
        temperature: of the noise. At 0 the generator answers with the expected cine, whatever the others are.
        steps, diffusion_steps: None: the preset's.

    Raises:
        InvalidSettings: the stage in `learned` is not finished, or was trained with another model's embeddings.
    """
    read_settings(learned, TRAIN_GENERATOR, TrainGenerator)
    check_input(learned, "ecg", ecg / WEIGHTS, "ecg")
    check_cohort(learned, cohort)
    model = load_bundle(ecg).reference
    scaling = msgspec.json.decode((learned / SCALING).read_bytes(), type=Scaling)
    preset, weights = find_cine_preset(scaling.preset), load_weights(StageFolder(learned).weights)
    vae, mar, expected = CineVae(preset), CineMar(preset), ExpectedCine(preset.cine)
    for name, part in (("vae", vae), ("mar", mar), ("expected", expected)):
        part.load_state_dict(below(f"{name}.", weights))
    manifest = describe(describe_untrained(preset, scaling.means, scaling.deviations), cohort)
    chosen = {"guidance": guidance, "steps": steps, "diffusion_steps": diffusion_steps, "temperature": temperature}
    given = {name: value for name, value in chosen.items() if value is not None}
    sampling = msgspec.structs.replace(manifest.sampling, **given)
    named = EcgModel(name=model.name, version=model.version)
    manifest = msgspec.structs.replace(manifest, sampling=sampling, ecg_model=named)
    return package_generator(out, vae, mar, expected, manifest)


def describe(manifest: GeneratorManifest, cohort: Cohort) -> GeneratorManifest:
    """Return the manifest of a generator that was trained on the cohort."""
    source = cohort.description.source
    simulated = source == SIMULATED
    return msgspec.structs.replace(
        manifest,
        trained=True,
        weights="demonstration weights, simulated cohort" if simulated else f"trained on {source}",
        trained_on=describe_cohort(cohort),
        notes=(
            "Learned from simulated hearts alone. It shows that the way works; it says nothing of a person."
            if simulated
            else "Its cines are drawn, not measured; a diagnosis must not rest on them."
        ),
    )
