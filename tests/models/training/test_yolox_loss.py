"""Which cells are to tell of whom, and what it costs if they do not."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from posewire_models.detectors.yolox_boxes import boxes_of, cell_count, cells_of
from posewire_models.training.yolox_loss import YoloxTargets, assigned, yolox_loss

SIZE = (64, 96)
NOBODY = torch.zeros(0, 4)


def telling(boxes: Tensor, certainty: float = 9.0) -> Tensor:
    """`(1, cells, 6)`: the middle cell of stride 8 tells of each of the boxes `(n, 4)`, and no other of anybody."""
    cells, strides = cells_of(SIZE, torch.device("cpu"))
    told = torch.zeros(1, cell_count(SIZE), 6)
    told[..., 2:] = -certainty
    for x1, y1, x2, y2 in boxes.tolist():
        middle = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2])
        there = (strides[:, 0] == 8) & (cells == (middle / 8).floor()).all(dim=1)
        told[0, there, :2] = (middle / strides - cells)[there]
        told[0, there, 2:4] = (torch.tensor([x2 - x1, y2 - y1]) / 8).log()
        told[0, there, 4:] = certainty
    return told


def test_who_tells_the_truth_pays_little() -> None:
    people = torch.tensor([[10.0, 8, 30, 60], [50, 20, 90, 62]])
    truth = telling(people)
    assert boxes_of(truth, SIZE)[0][truth[0, :, 4] > 0].allclose(people)
    right = yolox_loss(truth, YoloxTargets([people], [NOBODY]), SIZE).item()
    moved = yolox_loss(truth, YoloxTargets([people + 12], [NOBODY]), SIZE).item()
    silent = yolox_loss(telling(NOBODY), YoloxTargets([people], [NOBODY]), SIZE).item()
    invented = yolox_loss(truth, YoloxTargets([people[:1]], [NOBODY]), SIZE).item()
    assert right < 0.5
    assert min(moved, silent, invented) > 4 * right


def test_where_nobody_knows_nothing_is_asked() -> None:
    people = torch.tensor([[10.0, 8, 30, 60], [50, 20, 90, 62]])
    doubted = yolox_loss(telling(people), YoloxTargets([people[:1]], [people[1:]]), SIZE).item()
    denied = yolox_loss(telling(people), YoloxTargets([people[:1]], [NOBODY]), SIZE).item()
    assert doubted < 0.5 < denied


def test_an_image_without_people_teaches_too() -> None:
    told = telling(torch.tensor([[10.0, 8, 30, 60]])).requires_grad_()
    loss = yolox_loss(told, YoloxTargets([NOBODY], [NOBODY]), SIZE)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() > 5
    assert told.grad is not None
    assert (told.grad[0, told[0, :, 4] > 0, 4] > 0.5).all()


def test_the_loss_falls_where_its_gradient_leads() -> None:
    people = torch.tensor([[12.0, 6, 34, 58], [48, 22, 88, 60]])
    targets = YoloxTargets([people], [NOBODY])
    told = torch.zeros(1, cell_count(SIZE), 6, requires_grad=True)
    optimiser = torch.optim.Adam([told], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        yolox_loss(told, targets, SIZE).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    found = boxes_of(told.detach(), SIZE)[0][told[0, :, 4] > 0]
    assert len(found) >= 2
    for box in found:
        assert (people - box).abs().amax(dim=1).min().item() < 1.5


_SIDES = st.floats(4, 40)


@given(
    st.lists(st.tuples(st.floats(0, 90), st.floats(0, 60), _SIDES, _SIDES), min_size=1, max_size=8),
    st.integers(0, 2**31 - 1),
)
def test_everybody_is_told_of_and_no_cell_tells_of_two(
    people: list[tuple[float, float, float, float]], seed: int
) -> None:
    known = torch.tensor([[x, y, x + width, y + height] for x, y, width, height in people])
    told = torch.randn(1, cell_count(SIZE), 6, generator=torch.Generator().manual_seed(seed))
    rows, whose, overlaps = assigned(boxes_of(told, SIZE)[0], told[0, :, 4], told[0, :, 5], known, SIZE)
    assert len(rows.unique()) == len(rows) == len(whose)
    assert ((overlaps >= 0) & (overlaps <= 1)).all()
    if len(known) == 1:
        assert len(rows) >= 1
    cells, strides = cells_of(SIZE, torch.device("cpu"))
    middles = ((cells + 0.5) * strides)[rows]
    boxes = known[whose]
    away = torch.maximum(boxes[:, :2] - middles, middles - boxes[:, 2:]).amax(dim=1)
    assert (away <= 2.5 * strides[rows, 0] + 40).all()


def test_a_cell_between_two_people_tells_of_the_nearer_one() -> None:
    people = torch.tensor([[10.0, 8, 42, 60], [14, 8, 46, 60]])
    told = telling(people[1:])
    rows, whose, _ = assigned(boxes_of(told, SIZE)[0], told[0, :, 4], told[0, :, 5], people, SIZE)
    assert whose.tolist() == [1]
    assert told[0, rows, 4].item() > 0
