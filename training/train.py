"""Train TransferKitTiny: a small network learns to predict what larger ones see in the photos of a pool.

    python training/train.py POOL --work FOLDER [--epochs 80] [--seed 0] ...

Started again with the same arguments, it goes on after the last whole epoch. The weights end up in FOLDER/run/student.pt.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from augmentation import plain, varied
from pool import Pool, read_pool
from student import Student
from torch import nn
from torch.nn import functional

from transferkit.backbones.tiny import TINY

HELD_OUT = 500  # photos that only tell how well the rest is learned
PER_BATCH = 128


class Run:
    """The state of a run: all that must be kept to go on after a kill."""

    def __init__(self, options: argparse.Namespace, targets: int) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.student = Student(**TINY.options).to(memory_format=torch.channels_last)
        self.head = nn.Linear(self.student.features, targets)
        self.average = copy.deepcopy(nn.ModuleList([self.student, self.head])).requires_grad_(False)
        decayed, others = [], []
        for weight in [*self.student.parameters(), *self.head.parameters()]:
            (decayed if weight.ndim > 1 else others).append(weight)
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=options.learning_rate,
            betas=(0.9, 0.98),
        )
        self.epoch = 0

    def restore(self, path: Path) -> None:
        if path.exists():
            state = torch.load(path, weights_only=True)
            for name, value in self._fixed().items():
                if state["options"][name] != value:
                    raise SystemExit(
                        f"{path} is of a run with {name} {state['options'][name]}, not {value}: take another --run."
                    )
            for name in ("student", "head", "average", "optimizer"):
                getattr(self, name).load_state_dict(state[name])
            self.epoch = state["epoch"]

    def keep(self, path: Path) -> None:
        names = ("student", "head", "average", "optimizer")
        unfinished = path.with_suffix(".part")
        state = {name: getattr(self, name).state_dict() for name in names}
        torch.save({**state, "epoch": self.epoch, "options": self._fixed()}, unfinished)
        unfinished.replace(path)

    def _fixed(self) -> dict[str, object]:
        """What may not change within a run; its length may, as long as the cooldown has not begun."""
        paths = ("pool", "work", "run", "epochs")
        return {name: value for name, value in vars(self.options).items() if name not in paths}

    def rate(self, progress: float) -> float:
        """A learning rate that rises for an epoch, stays, and falls to nothing over the last part (progress in epochs)."""
        options = self.options
        left = (options.epochs - progress) / (options.epochs * options.cooldown)
        return options.learning_rate * min(1.0, (progress + 0.01), max(left, 0.0))

    def train_epoch(self, pool: Pool) -> float:
        """One pass over the photos; the mean loss."""
        options = self.options
        generator = torch.Generator().manual_seed(options.seed * 100_003 + self.epoch)
        order = (torch.randperm(len(pool.photos) - HELD_OUT, generator=generator) + HELD_OUT).numpy()
        side = side_at(self.epoch, options)
        batches = len(order) // PER_BATCH
        losses = []
        self.student.train()
        for number in range(batches):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(self.epoch + number / batches)
            chosen = order[number * PER_BATCH : (number + 1) * PER_BATCH]
            images = varied(torch.from_numpy(pool.photos[chosen]), side, generator)
            targets = torch.from_numpy(pool.targets[chosen])
            if options.mixup:
                images, targets = mixed(images, targets, options.mixup, generator)
            with torch.autocast("cpu", torch.bfloat16):
                found = self.head(self.student(images))
            loss = loss_of(found.float(), targets, pool.teachers, options.loss)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self._follow()
            losses.append(float(loss.detach()))
        self.epoch += 1
        return float(np.mean(losses))

    def _follow(self) -> None:
        """The average of the weights over about the last `averaged` steps."""
        current = [*self.student.state_dict().values(), *self.head.state_dict().values()]
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), current, strict=True):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 / self.options.averaged)
                else:
                    mean.copy_(value)


def side_at(epoch: int, options: argparse.Namespace) -> int:
    """Pixels of a side: smaller ones at first, which takes half the time; the last part at the full size."""
    growing = options.epochs * (1 - options.cooldown)
    if epoch >= growing:
        return 96
    return options.first_side + 8 * int((96 - options.first_side) / 8 * epoch / growing)


def mixed(
    images: torch.Tensor, targets: torch.Tensor, share: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A share of the photos with a part of another one in them, and of what is seen in it."""
    count = round(len(images) * share)
    part = torch.rand(count, generator=generator) * 0.5
    other = torch.roll(torch.arange(len(images)), 1)[:count]
    pixels = part.view(-1, 1, 1, 1)
    images[:count] = images[:count] * (1 - pixels) + images[other] * pixels
    targets = targets.clone()
    targets[:count] = targets[:count] * (1 - part[:, None]) + targets[other] * part[:, None]
    return images, targets


def loss_of(found: torch.Tensor, wanted: torch.Tensor, teachers: dict[str, slice], kind: str) -> torch.Tensor:
    """The mean over the teachers; for each, mean square, one minus cosine, or both."""
    losses = []
    for columns in teachers.values():
        ours, theirs = found[:, columns], wanted[:, columns]
        square = functional.mse_loss(ours, theirs)
        angle = 1 - functional.cosine_similarity(ours, theirs).mean()
        losses.append({"mse": square, "cosine": angle, "both": square + angle}[kind])
    return torch.stack(losses).mean()


@torch.no_grad()
def settle_statistics(student: Student, pool: Pool, count: int = 6000) -> None:
    """BatchNormalization's means and variances over whole photos, as a classifier sees them, not over crops."""
    norms = [layer for layer in student.modules() if isinstance(layer, nn.BatchNorm2d)]
    momentum = norms[0].momentum
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
    student.train()
    for start in range(HELD_OUT, HELD_OUT + count, 250):
        student(plain(torch.from_numpy(pool.photos[start : start + 250]), 96))
    for layer in norms:
        layer.momentum = momentum
    student.eval()


@torch.no_grad()
def likeness(average: nn.ModuleList, pool: Pool) -> dict[str, float]:
    """Mean cosine between what is predicted and what the teacher sees, in the photos that are held out."""
    student, head = average
    student.eval()
    found = torch.cat(
        [
            head(student(plain(torch.from_numpy(pool.photos[start : start + 250]), 96)))
            for start in range(0, HELD_OUT, 250)
        ]
    )
    wanted = torch.from_numpy(pool.targets[:HELD_OUT])
    return {
        name: float(functional.cosine_similarity(found[:, columns], wanted[:, columns]).mean())
        for name, columns in pool.teachers.items()
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="for the decoded photos, and the run's state and log")
    parser.add_argument("--run", default="run", help="the name of the run's folder in it")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--cooldown", type=float, default=0.35, help="the part over which the learning rate falls")
    parser.add_argument("--learning-rate", type=float, default=6e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument(
        "--averaged", type=float, default=500, help="steps that the average of the weights reaches back"
    )
    parser.add_argument("--loss", choices=["mse", "cosine", "both"], default="both")
    parser.add_argument("--power", type=float, default=0.65, help="how far the teachers' features are whitened, 0 to 1")
    parser.add_argument("--mixup", type=float, default=0.0, help="the share of photos that are mixed")
    parser.add_argument("--first-side", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    folder = options.work / options.run
    folder.mkdir(parents=True, exist_ok=True)
    pool = read_pool(options.pool, options.work, options.power)
    run = Run(options, pool.targets.shape[1])
    run.restore(folder / "state.pt")
    while run.epoch < options.epochs:
        started = time.perf_counter()
        loss = run.train_epoch(pool)
        if not math.isfinite(loss):
            raise SystemExit(f"The loss is {loss} in epoch {run.epoch}: take a lower --learning-rate.")
        row = {"epoch": run.epoch, "side": side_at(run.epoch - 1, options), "loss": round(loss, 4)}
        row |= {name: round(value, 4) for name, value in likeness(run.average, pool).items()}
        row["seconds"] = round(time.perf_counter() - started, 1)
        run.keep(folder / "state.pt")
        with (folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
    settle_statistics(run.average[0], pool)
    print("with settled statistics:", likeness(run.average, pool))
    torch.save(run.average[0].state_dict(), folder / "student.pt")


if __name__ == "__main__":
    main()
