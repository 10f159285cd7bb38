"""The cells of the matrix in which the hub of the base model misbehaves; the program that fetches it is our own."""

import threading
from pathlib import Path

import pytest
from cells import CELLS, Cell
from hub import MODEL, WEIGHTS, Hub, hub_on_loopback
from meddler import meddling
from place import Place
from stand_ins import CONFIG
from test_matrix import cells, expect, expect_the_same_again

SECONDS = 4.0  # that a fault lasts which goes away
FOR_REAL = "fetch_model=for-real"


def hubs(breaks: bool) -> "pytest.MarkDecorator":
    return cells(lambda cell: cell.fault.startswith("hub ") and ("download" in cell.fault) == breaks)


def use(place: Place, port: int) -> None:
    (place.folder / "config.yaml").write_text(CONFIG.replace("/nowhere", MODEL))
    place.more = {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(place.folder / "hub"),
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "HF_HUB_ETAG_TIMEOUT": "2",
        "HF_HUB_DISABLE_XET": "1",
    }


@hubs(breaks=False)
def test_a_hub_behind_a_bad_network(place: Place, undisturbed: Place, tmp_path: Path, cell: Cell) -> None:
    with hub_on_loopback(tmp_path / "model") as hub, meddling(hub.port) as between:
        use(place, between.port)
        between.does(cell.fault.removeprefix("hub ").removesuffix(" for a while"))
        if cell.fault.endswith("for a while"):
            threading.Timer(SECONDS, between.does, ["passes on"]).start()
        code = place.here(FOR_REAL)
        expect(place, cell, code)
        between.does("passes on")
        if code != 0:
            assert place.here(FOR_REAL) == 0, place.words
        expect_the_same_again(place, undisturbed, again=False)
        expect_the_model(place, hub)


@hubs(breaks=True)
def test_a_hub_that_breaks_off(place: Place, undisturbed: Place, tmp_path: Path, cell: Cell) -> None:
    with hub_on_loopback(tmp_path / "model") as hub:
        use(place, hub.port)
        hub.breaks = 1 if cell.fault.endswith("once") else 1000
        code = place.here(FOR_REAL)
        expect(place, cell, code)
        assert hub.sent > 1
        hub.breaks = 0
        if code != 0:
            assert place.here(FOR_REAL) == 0, place.words
        expect_the_same_again(place, undisturbed, again=False)
        expect_the_model(place, hub)


def expect_the_model(place: Place, hub: Hub) -> None:
    (found,) = (place.folder / "hub").rglob(WEIGHTS)
    assert found.read_bytes() == hub.files[WEIGHTS]


def test_every_cell_of_a_hub_is_tried() -> None:
    assert sum(cell.fault.startswith("hub ") for cell in CELLS) == 14
