"""Where tokens stand: fixed, rotary and resampled positions against timm, by hand, and by their laws."""

import math

import pytest
import torch
from einops import rearrange
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import (
    RotaryEmbeddingDinoV3,
    apply_rot_embed_cat,
    build_rotary_pos_embed,
    build_sincos2d_pos_embed,
)

from vit.nn.positions import CentredRotary2d, Rotary2d, Rotation, resample_pos_embed, rotate, sincos2d


def test_sincos2d_of_two_by_three_patches_worked_by_hand() -> None:
    table = sincos2d((2, 3), 8, temperature=100.0)
    row, column = 1, 2  # the last patch; frequencies are 1 and 1/100
    expected = [f(where * k) for where in (column, row) for f in (math.sin, math.cos) for k in (1, 0.01)]
    torch.testing.assert_close(table[-1], torch.tensor(expected))


@pytest.mark.parametrize("grid", [(2, 3), (5, 5)])
def test_sincos2d_is_timms_with_the_end_of_the_frequencies_included(grid: tuple[int, int]) -> None:
    bands = 5
    # timm's frequencies stop one step before 1 / temperature, ours at it
    temperature = 10000 ** (bands / (bands - 1))
    theirs = build_sincos2d_pos_embed(
        list(grid), 4 * bands, temperature=temperature, reverse_coord=True, interleave_sin_cos=True
    )
    in_reading_order = rearrange(theirs, "(gw gh) d -> (gh gw) d", gh=grid[0])  # timm counts down the columns here
    torch.testing.assert_close(sincos2d(grid, 4 * bands), in_reading_order)


def test_sincos2d_of_the_narrowest_model_has_one_frequency() -> None:
    torch.testing.assert_close(sincos2d((1, 2), 4)[1], torch.tensor([math.sin(1), math.cos(1), 0, 1]))


def test_rotations_are_timms() -> None:
    rotary = Rotary2d(head_dim=12, temperature=100.0, num_prefix_tokens=0)
    vectors = torch.randn(2, 3, 10, 12)
    sin, cos = build_rotary_pos_embed(
        [2, 5], dim=12, temperature=100.0, in_pixels=False, grid_indexing="xy", dtype=torch.float32
    )
    theirs = apply_rot_embed_cat(vectors, torch.cat([sin, cos], -1))
    torch.testing.assert_close(rotate(vectors, rotary((2, 5), vectors.device)), theirs)


def test_centred_rotations_are_timms() -> None:
    rotary = CentredRotary2d(head_dim=12, temperature=100.0, num_prefix_tokens=0)
    vectors = torch.randn(2, 3, 10, 12)
    reference = RotaryEmbeddingDinoV3(12, temperature=100.0)
    theirs = apply_rot_embed_cat(vectors, reference.get_embed([2, 5]), half=True)
    # float32 sines of up to two turns
    torch.testing.assert_close(rotate(vectors, rotary((2, 5), vectors.device)), theirs, atol=1e-5, rtol=1e-5)


def test_centred_coordinates_are_those_of_the_image_whatever_its_grid() -> None:
    rotary = CentredRotary2d(head_dim=4, temperature=100.0, num_prefix_tokens=0)
    # at the only frequency 1 is a full turn: two rows stand at -1/2 and 1/2, half a turn; three at -2/3, 0 and 2/3
    torch.testing.assert_close(rotary((2, 1), torch.device("cpu")).cos[:, 0], torch.tensor([-1.0, -1.0]))
    torch.testing.assert_close(
        rotary((3, 1), torch.device("cpu")).cos[:, 0], torch.tensor([-0.5, 1.0, -0.5]), atol=1e-6, rtol=0
    )


def test_rotation_by_a_quarter_turn_worked_by_hand() -> None:
    vectors = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    cos, sin = (
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([[1.0, 0.0]]),
    )  # the first pair turns by 90 degrees, the second not
    assert rotate(vectors, Rotation(cos, sin, "pairs xy")).tolist() == [[[[-2.0, 1.0, 3.0, 4.0]]]]
    assert rotate(vectors, Rotation(cos, sin, "xy pairs")).tolist() == [[[[-3.0, 2.0, 1.0, 4.0]]]]


def test_rotated_scores_depend_on_distances_only() -> None:
    rotation = Rotary2d(head_dim=8, temperature=100.0, num_prefix_tokens=0)((3, 5), torch.device("cpu"))
    q, k = (torch.randn(1, 1, 1, 8).expand(1, 1, 15, 8) for _ in range(2))
    scores = rearrange(rotate(q, rotation) @ rotate(k, rotation).mT, "1 1 (r c) (s d) -> r c s d", r=3, s=3)
    # from (0, 1) to (1, 4), and the same step lower down; float32 sines of sums
    torch.testing.assert_close(scores[0, 1, 1, 4], scores[1, 1, 2, 4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores[0, 0, 1, 3], scores[1, 1, 2, 4], atol=1e-5, rtol=1e-5)
    assert (scores[0, 0, 1, 3] - scores[0, 0, 3 - 1, 3]).abs() > 1e-3


def test_rotation_keeps_lengths_and_leaves_prefix_tokens_alone() -> None:
    vectors = torch.randn(2, 3, 7, 4)
    turned = rotate(vectors, Rotary2d(4, 10.0, num_prefix_tokens=1)((2, 3), vectors.device))
    torch.testing.assert_close(turned.norm(dim=-1), vectors.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], vectors[:, :, 0])
    assert not torch.allclose(turned[:, :, 2:], vectors[:, :, 2:])


def test_rotation_keeps_the_type_of_what_it_turns() -> None:
    rotation = Rotary2d(4, 10.0, num_prefix_tokens=0)((1, 2), torch.device("cpu"))
    assert rotate(torch.zeros(1, 1, 2, 4, dtype=torch.bfloat16), rotation).dtype == torch.bfloat16


@pytest.mark.parametrize(("old", "new", "prefix"), [((3, 5), (7, 2), 2), ((4, 4), (6, 6), 1), ((7, 5), (3, 3), 0)])
def test_resampled_positions_are_timms(old: tuple[int, int], new: tuple[int, int], prefix: int) -> None:
    table = torch.randn(prefix + old[0] * old[1], 11)
    theirs = resample_abs_pos_embed(
        rearrange(table, "n d -> 1 n d"), new_size=list(new), old_size=list(old), num_prefix_tokens=prefix
    )
    torch.testing.assert_close(resample_pos_embed(table, old, new, prefix), theirs[0], atol=1e-6, rtol=1e-5)


def test_resampling_keeps_a_constant_table_and_the_prefix() -> None:
    table = torch.cat([torch.randn(2, 3), torch.ones(6, 3)])
    resampled = resample_pos_embed(table, (2, 3), (5, 7), num_prefix_tokens=2)
    assert torch.equal(resampled[:2], table[:2])
    # cubic weights sum to 1 up to rounding
    torch.testing.assert_close(resampled[2:], torch.ones(35, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("grid", [(2, 3), (14, 14)])
def test_resampling_to_the_same_grid_changes_nothing(grid: tuple[int, int]) -> None:
    table = torch.randn(1 + grid[0] * grid[1], 5)
    assert torch.equal(resample_pos_embed(table, grid, grid), table)


def test_resampling_lets_gradients_through() -> None:
    table = torch.randn(1 + 6, 3, requires_grad=True)
    resample_pos_embed(table, (2, 3), (3, 3)).sum().backward()
    assert table.grad is not None
    # each new position is a weighted mean of the old ones, so all gradients together are one for each number
    torch.testing.assert_close(table.grad.sum(), torch.tensor(30.0))


@pytest.mark.parametrize(("old", "new"), [((4, 1), (6, 1)), ((4, 2), (6, 1)), ((1, 4), (1, 6)), ((3, 1), (1, 1))])
def test_one_column_of_patches_is_resampled_like_one_row(old: tuple[int, int], new: tuple[int, int]) -> None:
    # torch's own antialiased resampling to one column repeats its first value on the CPU, and so does timm's
    table = torch.randn(old[0] * old[1], 3)
    on_its_side = rearrange(table, "(gh gw) d -> (gw gh) d", gh=old[0])
    resampled = resample_pos_embed(on_its_side, (old[1], old[0]), (new[1], new[0]), 0)
    torch.testing.assert_close(
        resample_pos_embed(table, old, new, 0), rearrange(resampled, "(gw gh) d -> (gh gw) d", gh=new[0])
    )


def test_positions_are_resampled_in_float32_under_autocast_too() -> None:
    table = torch.randn(1 + 6, 5)
    expected = resample_pos_embed(table, (2, 3), (5, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resample_pos_embed(table, (2, 3), (5, 4)), expected)
