"""Attention flow: by hand, against augmenting paths in plain Python, and within its limit."""

from collections import deque
from fractions import Fraction

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from vit.explain import attention_flow, explain
from vit.nn import ViT, ViTConfig

Edges = dict[tuple[object, object], float]


def by_augmenting_paths(edges: Edges, source: object, sink: object) -> float:
    """Edmonds & Karp 1972 on real capacities: the shortest path with room, until there is none."""
    room: dict[object, dict[object, float]] = {}
    for (start, end), capacity in edges.items():
        room.setdefault(start, {})[end] = capacity
        room.setdefault(end, {}).setdefault(start, 0.0)
    total = 0.0
    while path := shortest_path(room, source, sink):
        least = min(room[start][end] for start, end in path)
        for start, end in path:
            room[start][end] -= least
            room[end][start] += least
        total += least
    return total


def shortest_path(room: dict[object, dict[object, float]], source: object, sink: object) -> list[tuple[object, object]]:
    """Edges from sink to source through which something can still flow; none where there is no way."""
    came_from: dict[object, object] = {source: None}
    queue = deque([source])
    while queue:
        node = queue.popleft()
        for neighbour, left in room[node].items():
            if left > 1e-12 and neighbour not in came_from:
                came_from[neighbour] = node
                queue.append(neighbour)
    path, node = [], sink
    while came_from.get(node) is not None:
        path.append((came_from[node], node))
        node = came_from[node]
    return path


def flow_of_graph(attention: Tensor, read: Tensor, residual: float) -> Tensor:
    """Of one image; the graph is spelled out node by node."""
    layers, _, _, n, _ = attention.shape
    mean = attention.double().mean(dim=2)
    edges: Edges = {("read", (layers, i)): float(read[0, i]) for i in range(n)}
    for layer in range(layers):
        for i in range(n):
            for j in range(n):
                stays = residual if i == j else 0.0
                edges[(layer + 1, i), (layer, j)] = stays + (1 - residual) * float(mean[layer, 0, i, j])
    return torch.tensor([[by_augmenting_paths(edges, "read", (0, j)) for j in range(n)]]).double()


def test_two_layers_worked_by_hand_in_fractions() -> None:
    attention = torch.tensor([[[[[0.0, 1.0], [0.0, 1.0]]]], [[[[0.5, 0.5], [0.5, 0.5]]]]])
    # capacities: layer 1 [[1/2, 1/2], [0, 1]], layer 2 [[3/4, 1/4], [1/4, 3/4]]; from token 0 of the last layer,
    # token 0 is reached through token 0 alone, 1/2; token 1 through token 0, 1/2, and through token 1, 1/4
    flow = attention_flow(attention, torch.tensor([[1.0, 0.0]]))
    assert flow[0].tolist() == [float(Fraction(1, 2)), float(Fraction(3, 4))]


def test_what_the_head_reads_limits_the_flow() -> None:
    attention = torch.tensor([[[[[0.0, 1.0], [0.0, 1.0]]]]])
    # capacities [[1/2, 1/2], [0, 1]]: a quarter comes from token 0, three quarters from token 1
    assert attention_flow(attention, torch.tensor([[0.25, 0.75]]))[0].tolist() == [0.25, 1.0]


@pytest.mark.parametrize("residual", [0.5, 0.2])
def test_flow_is_that_of_augmenting_paths(residual: float) -> None:
    attention = torch.rand(3, 1, 2, 5, 5).mul(5).softmax(dim=-1)
    for read in (torch.eye(5)[:1], torch.rand(1, 5).softmax(-1)):
        flow = attention_flow(attention, read, residual)
        assert_close(flow.double(), flow_of_graph(attention, read, residual), atol=1e-6, rtol=0)


def test_uniform_attention_gives_a_uniform_flow_and_identity_none() -> None:
    read = torch.eye(4)[:1]
    uniform = attention_flow(torch.full((2, 1, 1, 4, 4), 0.25), read)[0, 1:]
    assert_close(uniform, uniform[:1].expand(3))
    assert uniform[0] > 0
    assert attention_flow(torch.eye(4).expand(2, 1, 1, 4, 4), read)[0].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_more_than_72_tokens_are_refused_before_anything_runs() -> None:
    model = ViT(ViTConfig(image_size=18, patch_size=2, embed_dim=4, depth=1, num_heads=1, num_classes=2))
    with pytest.raises(ValueError, match=r"attention flow takes up to 72 tokens, .* and this is 82: .* rollout"):
        explain(model, torch.randn(1, 3, 18, 18), "flow")
    with pytest.raises(ValueError, match="this is 73"):
        attention_flow(torch.rand(1, 1, 1, 73, 73), torch.rand(1, 73))


@pytest.mark.parametrize("num_register_tokens", [0, 7])
def test_eight_by_eight_patches_and_their_prefix_tokens_are_taken(num_register_tokens: int) -> None:
    config = ViTConfig(
        image_size=16,
        patch_size=2,
        embed_dim=4,
        depth=2,
        num_heads=1,
        num_classes=2,
        num_register_tokens=num_register_tokens,
    )
    assert explain(ViT(config), torch.randn(1, 3, 16, 16), "flow").maps.shape == (1, 8, 8)
