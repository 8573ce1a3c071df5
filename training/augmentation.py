"""Batches of photos, varied as they are made: crops, mirror images, colours, resolutions."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

LEAST_AREA = 0.5  # of the photo that a crop keeps
ASPECT = 1.33  # the classifier squeezes whole photos into a square: the student sees squeezed ones
COLOUR = 0.3
GREY = 0.05
SMALL = 0.25  # share of photos that are shown as if they had been small: icons, thumbnails, 32 px photos
SMALL_SIDES = (24, 32, 40, 56)


def varied(photos: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """uint8 (n, h, w, 3) -> float32 (n, 3, side, side) from -1 to 1, a random view of each."""
    pixels = photos.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)
    count = len(pixels)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    area, aspect = uniform(LEAST_AREA, 1), torch.exp(uniform(-math.log(ASPECT), math.log(ASPECT)))
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    mirror = torch.sign(uniform(-1, 1))
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1] = width * mirror, height
    affine[:, 0, 2], affine[:, 1, 2] = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    grid = functional.affine_grid(affine, [count, 3, side, side], align_corners=False)
    views = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    _make_small(views)
    return _recoloured(views, generator).contiguous(memory_format=torch.channels_last)


def plain(photos: torch.Tensor, side: int) -> torch.Tensor:
    """The whole photos, as a classifier sees them."""
    pixels = photos.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)
    sized = functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    return sized.contiguous(memory_format=torch.channels_last)


def _make_small(views: torch.Tensor) -> None:
    """A share of the views loses its detail, in place; they are in random order, so the first ones will do."""
    count = round(len(views) * SMALL) // len(SMALL_SIDES)
    for number, least in enumerate(SMALL_SIDES):
        chosen = slice(number * count, (number + 1) * count)
        less = functional.interpolate(views[chosen], (least, least), mode="bilinear", antialias=True)
        views[chosen] = functional.interpolate(less, views.shape[2:], mode="bicubic").clamp_(-1, 1)


def _recoloured(views: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Other saturation, contrast and brightness for each view; the views are overwritten."""
    count = len(views)

    def factor() -> torch.Tensor:
        return 1 + COLOUR * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)

    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (views * weights).sum(1, keepdim=True)
    saturation = factor() * (torch.rand(count, 1, 1, 1, generator=generator) >= GREY)
    middle = grey.mean((2, 3), keepdim=True)
    contrast, brightness = factor(), factor() - 1
    # grey + s (x - grey), then middle + c (that - middle) + b, in two passes over the pixels
    views = views.mul_(saturation * contrast).add_(grey * ((1 - saturation) * contrast))
    return views.add_(middle * (1 - contrast) + brightness).clamp_(-1, 1)
