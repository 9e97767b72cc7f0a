"""What `test_shards_on_two_devices.py` runs in each of two processes: python -m torch.distributed.run ... ROOT.

Writes ROOT/seen-RANK.json: of every training the images of each step and of each validation, by their grey level.
"""

import json
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

import vit.data.order
from vit.data.module import ImageDataModule

STOP = 11
"""Step of the second epoch from which one training goes on."""


class Onlooker(L.LightningModule):
    """Remembers the images that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.trained: list[list[int]] = []
        self.validated: list[list[int]] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.trained.append(levels(batch[0]))
        return (self.weight - batch[0].mean()).square().mean()

    def on_validation_epoch_start(self) -> None:
        self.validated.append([])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.validated[-1] += levels(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def levels(images: Tensor) -> list[int]:
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


def train(root: Path, resume: Path | None = None, folder: str = "shards", **flags: object) -> dict[str, object]:
    data = ImageDataModule(
        "shards",
        root=str(root / folder),
        image_size=4,
        batch_size=4,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        num_workers=1,
        on_error="skip",
    )
    L.seed_everything(5, verbose=False)
    onlooker = Onlooker()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        enable_checkpointing="callbacks" in flags,
        **{"max_epochs": 2, **flags},  # pyright: ignore
    )
    trainer.fit(onlooker, datamodule=data, ckpt_path=resume, weights_only=True)
    return {"trained": onlooker.trained, "validated": onlooker.validated}


def main(root: Path) -> None:
    torch.set_num_threads(1)
    vit.data.order.SHUFFLED_TOGETHER = 16
    every_step = ModelCheckpoint(root / "checkpoints", filename="{step}", save_top_k=-1, every_n_train_steps=1)
    seen = {
        "unbroken": train(root, callbacks=[every_step]),
        "continued": train(root, resume=root / "checkpoints" / f"step={STOP}.ckpt"),
        "damaged": train(root, folder="damaged", max_epochs=1),
    }
    rank = torch.distributed.get_rank()
    (root / f"seen-{rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
