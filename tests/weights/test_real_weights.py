"""Real pretrained weights on real photographs: ours and timm's name the same class for each of them."""

import csv
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from vit.weights import load_model

DATA = Path(__file__).parents[2].parent / "shared" / "data"
WEIGHTS, PHOTOGRAPHS = DATA / "weights" / "vit_tiny_patch16_224", DATA / "imagenet-sample"

pytestmark = pytest.mark.skipif(not (WEIGHTS.is_dir() and PHOTOGRAPHS.is_dir()), reason=f"no real data at {DATA}")


@pytest.mark.slow
@torch.inference_mode()
def test_top_1_is_that_of_timm_image_for_image():
    theirs = timm.create_model(f"local-dir:{WEIGHTS}", pretrained=True).eval()
    ours = load_model(WEIGHTS)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs), is_training=False)
    with (PHOTOGRAPHS / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = torch.stack([transform(Image.open(PHOTOGRAPHS / row["file"]).convert("RGB")) for row in rows])
    labels = torch.tensor([int(row["class_index"]) for row in rows])
    predicted = torch.cat([ours(batch).argmax(dim=1) for batch in images.split(25)])
    expected = torch.cat([theirs(batch).argmax(dim=1) for batch in images.split(25)])
    assert predicted.tolist() == expected.tolist()
    assert (predicted == labels).sum() == 208  # of 250, as measured when the data came
