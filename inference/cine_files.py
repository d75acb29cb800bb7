"""Writes a cine as a file that people and other programs open; each says that it is synthetic.

The words are burned into the pictures, below the heart, where no viewer can leave them out; NIfTI, which has no
picture to write on, has them as its description. A whole provenance goes along where the format has room for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.errors import InvalidSettings

from .av1_film import write_film
from .cine import Cine

BEAT_S = 1.0
"""How long a beat is shown where nobody knows how long it lasted: 60 a minute."""
LEAST_WIDTH = 384
"""Of a picture, in pixels: small frames are enlarged, so that the words fit below."""
TEXT_SIZE, MARGIN = 15, 6
WORDS_COLOUR = 235
GIF_DELAY_S = 0.02
"""The shortest delay that browsers keep to; GIF counts in hundredths of a second."""
SHEET_COLUMNS, SHEET_ROWS, SHEET_WIDTH = 4, 3, 768
BEATS_A_FILM = 4
"""An MP4 has no loop of its own."""
PLANE_MM = 6.0
"""Of NIfTI's third axis: UK Biobank's slice thickness in long-axis cines; the frames have none."""
ALIGNED = 2
"""NIfTI's code for a frame of reference that is not a scanner's."""
COMMENT = 6
"""NIfTI's code for a plain-text extension."""

Picture = NDArray[np.uint8]
"""(rows, columns), ready to be shown."""


def write_cine(cine: Cine, path: Path) -> None:
    """Write the cine in the format that the file's name asks for.

    Raises:
        InvalidSettings: the name asks for none of the four, or the file cannot be written.
    """
    write = cine_writer(path)
    try:
        write(cine, path)
    except OSError as error:
        raise InvalidSettings(f"{path} cannot be written: {error.strerror or error}") from error


def cine_writer(path: Path) -> Callable[[Cine, Path], None]:
    """Return what writes files of that name.

    Raises:
        InvalidSettings: the name has another ending.
    """
    for suffix, write in WRITERS.items():
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return write
    raise InvalidSettings(
        f"{path}: a cine is written as {', '.join(WRITERS)}; give the file a name with one of these endings"
    )


def beat_s(cine: Cine) -> float:
    """Return how long one beat is to be shown."""
    return cine.geometry.seconds_per_beat or BEAT_S


def write_gif(cine: Cine, path: Path) -> None:
    """Write an endless loop at the heart's own speed; a quick heart loses frames, since browsers show 50 a second."""
    from PIL import Image

    count = max(1, min(len(cine.frames), math.floor(beat_s(cine) / GIF_DELAY_S)))
    shown = cine.frames[np.arange(count) * len(cine.frames) // count]
    first, *others = [Image.fromarray(picture) for picture in captioned(shown, cine.provenance.notice)]
    ends = np.round(np.arange(count + 1) * 100 * beat_s(cine) / count).astype(int)
    delays_ms = [10 * int(delay) for delay in np.diff(ends)]
    comment = _provenance(cine)
    first.save(path, "GIF", save_all=True, append_images=others, duration=delays_ms, loop=0, comment=comment)


def write_mp4(cine: Cine, path: Path) -> None:
    """Write AV1 that any current browser plays: every frame of a few beats, at the heart's own speed."""
    from PIL import features

    if not features.check("avif"):
        raise InvalidSettings(f"{path}: this Pillow has no AV1; write a .gif, or install Pillow from its own wheel")
    pictures = captioned(cine.frames, cine.provenance.notice)
    rate = Fraction(len(pictures) / beat_s(cine)).limit_denominator(1000)
    notice, provenance = cine.provenance.notice, _provenance(cine).decode()
    write_film(path, pictures, rate=rate, times=BEATS_A_FILM, title=notice, comment=provenance)


def write_nifti(cine: Cine, path: Path) -> None:
    """Write the bare frames as (columns, rows, 1, frames), in mm and seconds, with the words as the description.

    Columns run to the patient's left and rows downwards, as on a screen; where in the body the plane lies, nobody
    knows, so the frame of reference is not called a scanner's.
    """
    import nibabel

    geometry = cine.geometry
    voxels = np.ascontiguousarray(cine.frames.transpose(2, 1, 0)[:, :, None, :])
    affine = np.diag([-geometry.pixel_mm, -geometry.pixel_mm, PLANE_MM, 1.0])
    new_image: Any = nibabel.Nifti1Image  # partly typed, which mypy takes for untyped
    image = new_image(voxels, affine)
    image.set_sform(affine, ALIGNED)
    image.set_qform(affine, ALIGNED)
    header = image.header
    header.set_zooms((geometry.pixel_mm, geometry.pixel_mm, PLANE_MM, beat_s(cine) / geometry.frames))
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = cine.provenance.notice.encode()
    header.extensions.append(nibabel.nifti1.Nifti1Extension(COMMENT, _provenance(cine)))
    nibabel.save(image, path)


def write_png(cine: Cine, path: Path) -> None:
    """Write a contact sheet: twelve phases of the beat, row by row."""
    from PIL import Image, PngImagePlugin

    cells = SHEET_COLUMNS * SHEET_ROWS
    chosen = cine.frames[np.arange(cells) * len(cine.frames) // cells]
    rows = [np.concatenate(list(row), axis=1) for row in chosen.reshape(SHEET_ROWS, SHEET_COLUMNS, *chosen.shape[1:])]
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", cine.provenance.notice)
    text.add_text("Comment", _provenance(cine).decode())
    (sheet,) = captioned(np.concatenate(rows)[None], cine.provenance.notice, least_width=SHEET_WIDTH)
    Image.fromarray(sheet).save(path, "PNG", pnginfo=text)


WRITERS: dict[str, Callable[[Cine, Path], None]] = {
    ".gif": write_gif,
    ".mp4": write_mp4,
    ".nii.gz": write_nifti,
    ".png": write_png,
}


def captioned(frames: NDArray[np.uint8], words: str, *, least_width: int = LEAST_WIDTH) -> list[Picture]:
    """Return the (n, rows, columns) frames enlarged until the words fit, and the words below each."""
    from PIL import Image

    scale = math.ceil(least_width / frames.shape[2])
    size = (frames.shape[2] * scale, frames.shape[1] * scale)
    strip = _strip(size[0], words)
    enlarged = [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in frames]
    return [np.concatenate([picture, strip]) for picture in enlarged]


def _strip(width: int, words: str) -> Picture:
    """Return (rows, width), the words in the middle, in as many lines as they need."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TEXT_SIZE)
    text = _wrapped(words, lambda line: font.getlength(line) <= width - 2 * MARGIN)
    _, top, _, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font=font)
    height = math.ceil(bottom - top) + 2 * MARGIN
    strip = Image.new("L", (width, height + height % 2))
    ImageDraw.Draw(strip).multiline_text(
        (width / 2, MARGIN - top), text, fill=WORDS_COLOUR, font=font, anchor="ma", align="center"
    )
    return np.asarray(strip)


def _wrapped(words: str, fits: Callable[[str], bool]) -> str:
    lines: list[str] = []
    for word in words.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _provenance(cine: Cine) -> bytes:
    return msgspec.json.encode(cine.provenance)
