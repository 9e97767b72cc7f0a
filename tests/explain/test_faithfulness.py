"""The measures by hand, the curves against a plain loop, and what is said where a map is no better than chance."""

import dataclasses

import pytest
import torch
from torch import Tensor

from vit.explain import explain
from vit.explain.faithfulness import Curves, advantage, estimate, faithfulness, order_of, verdicts
from vit.explain.removal import remover
from vit.nn import Preprocessing, ViT, ViTConfig

SPEC = Preprocessing(image_size=(8, 12), mean=(0.5,), std=(0.5,))
CONFIG = ViTConfig(
    image_size=(8, 12), patch_size=4, in_channels=1, num_classes=3, embed_dim=24, depth=2, num_heads=3, init="xavier"
)


@pytest.fixture
def model() -> ViT:
    return ViT(CONFIG).train()


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    return [
        (torch.randn(2, 1, 8, 12), torch.tensor([0, 2])),
        (torch.randn(3, 1, 8, 12), torch.tensor([1, 1, 0])),
    ]


def curves(method: str, most: Tensor, least: Tensor, fill="black") -> Curves:
    return Curves(
        method=method,
        fill=fill,
        fractions=torch.linspace(0, 1, most.shape[1]),
        probability_most_first=most,
        probability_least_first=least,
        right_most_first=most > 0.5,
        right_least_first=least > 0.5,
    )


def test_measures_of_curves_worked_by_hand():
    seen = curves("a", torch.tensor([[1.0, 0.6, 0.2, 0.2, 0.0]]), torch.tensor([[1.0, 1.0, 0.8, 0.4, 0.0]]))
    # trapezoids of width 1/4: (1/2 + .6 + .2 + .2 + 0) / 4 and (1/2 + 1 + .8 + .4 + 0) / 4
    assert seen.measure("deletion").item() == pytest.approx(0.375)
    assert seen.measure("insertion").item() == pytest.approx(0.675)
    assert seen.measure("gap").item() == pytest.approx(0.3)
    # right or wrong at 25, 50 and 75 %: 1 0 0 and 1 1 0, the ends of the three counting half
    assert seen.measure("positive").item() == pytest.approx(0.25)
    assert seen.measure("negative").item() == pytest.approx(0.75)


def test_curves_are_those_of_a_plain_loop(model, batches):
    found = faithfulness(model, batches, {"rollout": {}}, SPEC, fills=("mean", "drop"))
    by_name = {(each.method, each.fill): each for each in found}
    assert set(by_name) == {
        (name, fill) for name in ("rollout", "chance", "centre", "energy") for fill in ("mean", "drop")
    }
    row = 0
    for images, labels in batches:
        for image, label in zip(images, labels, strict=True):
            image = image[None]
            explained = explain(model, image)
            asked = int(explained.target)
            order = sorted(range(6), key=lambda patch: -float(explained.maps.flatten()[patch]))
            for fill, last in (("mean", 6), ("drop", 5)):
                ask = remover(model.eval(), image, (2, 3), fill, SPEC)
                for step, count in enumerate([0, 1, 1, 2, 2, 3, 4, 4, 5, 5, last]):
                    logits = ask(torch.tensor([order[:count]], dtype=torch.long))
                    seen = by_name["rollout", fill]
                    expected = logits.softmax(-1)[0, asked]
                    torch.testing.assert_close(seen.probability_most_first[row, step], expected)
                    assert bool(seen.right_most_first[row, step]) == (int(logits.argmax()) == int(label))
                    logits = ask(torch.tensor([order[::-1][:count]], dtype=torch.long))
                    torch.testing.assert_close(seen.probability_least_first[row, step], logits.softmax(-1)[0, asked])
            model.train()
            row += 1


def test_the_model_is_left_as_it_was(model, batches):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    faithfulness(model, batches, {"rollout": {}}, SPEC, fills=("black",))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_labels_can_be_asked_about_instead_of_predictions(model, batches):
    seen = faithfulness(model, batches, {"rollout": {}}, SPEC, fills=("black",), explain_labels=True)[0]
    images, labels = batches[1]
    probabilities = model.eval()(images).softmax(-1)
    torch.testing.assert_close(seen.probability_most_first[2:, 0], probabilities[range(3), labels])


def test_without_images_there_is_nothing_to_measure(model):
    with pytest.raises(ValueError, match="no images were given"):
        faithfulness(model, [], {"rollout": {}}, SPEC)


def test_the_interval_is_that_of_a_mean():
    values = torch.randn(400) + 3
    found = estimate(values)
    assert found.mean == pytest.approx(float(values.mean()), abs=1e-6)
    half = 1.96 * float(values.std()) / 20  # of a normal mean of 400
    assert found.low == pytest.approx(found.mean - half, abs=0.03)  # 2,000 draws
    assert found.high == pytest.approx(found.mean + half, abs=0.03)
    assert estimate(values) == found


def test_an_advantage_is_positive_where_a_method_is_better_whichever_way_the_measure_goes():
    falls, stays = torch.tensor([[1.0, 0.1, 0.1, 0.0]] * 10), torch.tensor([[1.0, 0.9, 0.9, 0.0]] * 10)
    good, bad = curves("good", falls, stays), curves("bad", stays, falls)
    for measure in ("deletion", "insertion", "positive", "negative", "gap"):
        assert advantage(good, bad, measure).low > 0
        assert advantage(bad, good, measure).high < 0


def test_a_method_that_does_not_beat_chance_is_said_so_and_one_that_does_is_not():
    falls, stays = torch.tensor([[1.0, 0.1, 0.0]] * 10), torch.tensor([[1.0, 0.9, 0.0]] * 10)
    even = torch.tensor([[1.0, 0.5, 0.0]] * 10)
    priors = [curves(name, even, even) for name in ("chance", "centre")] + [curves("energy", falls, stays)]
    good, useless = curves("good", falls - 0.05, stays), curves("useless", even, even)
    said = verdicts([good, useless, *priors])
    assert [sentence.split(" on ")[0] for sentence in said] == [
        "useless is not shown to be better than chance",
        "useless is not shown to be better than centre",
        "useless is not shown to be better than energy",
    ]
    assert said[0].endswith("fill black: the gap differs by +0.000 (+0.000 to +0.000).")


def test_a_verdict_names_the_fills_in_which_a_method_fails():
    falls, stays = torch.tensor([[1.0, 0.1, 0.0]] * 10), torch.tensor([[1.0, 0.9, 0.0]] * 10)
    even = torch.tensor([[1.0, 0.5, 0.0]] * 10)
    priors = [curves(name, even, even, fill) for name in ("chance", "centre", "energy") for fill in ("black", "drop")]
    seen = [curves("a", falls, stays, "black"), curves("a", even, even, "drop")]
    assert all(", fill drop: " in sentence for sentence in verdicts([*seen, *priors]))


def test_of_fewer_than_ten_images_nothing_is_concluded_however_good_a_method_looks():
    falls, stays = torch.tensor([[1.0, 0.1, 0.0]] * 9), torch.tensor([[1.0, 0.9, 0.0]] * 9)
    seen = [curves("good", falls, stays), *(curves(name, stays, falls) for name in ("chance", "centre", "energy"))]
    assert verdicts(seen) == ["9 images are too few to say whether a method is better than chance; give 10 or more."]


def test_curves_of_two_fills_are_not_compared():
    one = curves("a", torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(AssertionError):
        advantage(one, dataclasses.replace(one, fill="drop"))


def test_without_methods_there_is_nothing_to_measure(model, batches):
    with pytest.raises(ValueError, match="no methods were given"):
        faithfulness(model, batches, {}, SPEC)


def test_each_part_of_the_model_keeps_its_own_mode(model, batches):
    model.blocks[0].eval()
    before = [module.training for module in model.modules()]
    faithfulness(model, batches[:1], {"rollout": {}}, SPEC, fills=("black",))
    assert [module.training for module in model.modules()] == before


def test_a_compiled_model_is_the_model_inside(model, batches):
    plain, compiled = (
        faithfulness(asked, batches[:1], {"rollout": {}}, SPEC, fills=("drop",))[0]
        for asked in (model, torch.compile(model))
    )
    torch.testing.assert_close(plain.probability_most_first, compiled.probability_most_first)


def test_patches_that_score_alike_leave_in_random_order_and_others_by_their_scores():
    scores = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]).expand(400, -1, -1)
    orders = order_of(scores, torch.Generator().manual_seed(0))
    assert (orders[:, :2] == torch.tensor([4, 0])).all()
    assert (orders.sort(dim=1).values == torch.arange(6)).all()
    for place in range(2, 6):  # each of the four others in a quarter of 400 images, up to 3 standard deviations
        assert all(abs(count - 100) < 27 for count in orders[:, place].bincount(minlength=6)[[1, 2, 3, 5]].tolist())
