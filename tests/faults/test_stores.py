"""The cells of the matrix in which a network lies between a run and the S3 of its archives (moto's, on loopback)."""

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec
import pytest
from cells import CELLS, Cell
from meddler import Meddler, meddling
from moto.server import ThreadedMotoServer
from place import RUN_ID, Place
from processes import wait_until
from test_matrix import cells, expect, expect_the_same_again

from browser_control.records import archive

SECONDS = 4.0  # that a fault lasts which goes away
BUCKET = "bucket"
PATIENCE = {"config_kwargs": {"connect_timeout": 2, "read_timeout": 2, "retries": {"max_attempts": 1}}}


@dataclass
class Store:
    """A bucket, and the network before it."""

    between: Meddler

    def url(self) -> str:
        return f"s3://{BUCKET}/{uuid.uuid4()}"

    def half_written(self) -> list[str]:
        system = fsspec.filesystem("s3")
        system.invalidate_cache()
        return [path for path in system.find(BUCKET) if path.endswith(".part") or "/.tried" in path]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Store]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    with meddling(server.get_host_and_port()[1]) as between, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{between.port}",
            "AWS_ACCESS_KEY_ID": "ada",
            "AWS_SECRET_ACCESS_KEY": "engine",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        patch.setitem(fsspec.config.conf, "s3", PATIENCE)
        patch.setattr(archive, "PATIENCE", 3.0)
        fsspec.filesystem("s3").mkdir(BUCKET)
        yield Store(between)
        fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


@pytest.fixture
def store(bucket: Store) -> Iterator[Store]:
    yield bucket
    bucket.between.does("passes on")


@pytest.fixture(scope="module")
def second(undisturbed: Place, bucket: Store, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A second run, to which nothing happened, that began from the adapter of a first one."""
    place = Place(tmp_path_factory.mktemp("second") / "place", undisturbed.server)
    first_of(place, bucket)
    assert place.here(run_id="second", start_from="promoted") == 0, place.words
    return place


def first_of(place: Place, store: Store) -> None:
    """A first run, with its archive in the bucket; those that follow it have theirs elsewhere."""
    elsewhere, place.archives = place.archives, store.url()
    assert place.here() == 0, place.words
    place.archives = elsewhere


def stores(what: str) -> "pytest.MarkDecorator":
    return cells(lambda cell: cell.what == what, "s3")


def way(cell: Cell) -> str:
    return cell.fault.removeprefix("network ").removesuffix(" for a while")


@stores("archives, at the start")
def test_a_store_behind_a_bad_network_is_refused(place: Place, undisturbed: Place, store: Store, cell: Cell) -> None:
    place.archives = store.url()
    store.between.does(way(cell))
    expect(place, cell, place.here())
    assert not place.run.exists()
    store.between.does("passes on")
    expect_the_same_again(place, undisturbed, again=True)
    assert store.half_written() == []


@stores("archive")
def test_a_store_that_fails_while_the_archive_is_written(
    place: Place, undisturbed: Place, store: Store, cell: Cell
) -> None:
    place.archives = store.url()

    def disturb() -> None:
        wait_until((place.folder / "held").exists, 120)
        store.between.does(way(cell))
        (place.folder / "go").touch()
        if cell.fault.endswith("for a while"):
            place_waits_for_the_store(place)
            store.between.does("passes on")

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    code = place.here("evaluate:latest=hold")
    disturbing.join()
    expect(place, cell, code)
    store.between.does("passes on")
    expect_the_same_again(place, undisturbed, again=code != 0)
    assert store.half_written() == []


def place_waits_for_the_store(place: Place) -> None:
    wait_until((place.run / "evaluation" / "after.json").exists, 120)
    time.sleep(SECONDS)


@stores("fetch-promoted")
def test_a_store_that_fails_while_the_promoted_adapter_is_fetched(
    place: Place, second: Place, store: Store, cell: Cell
) -> None:
    first_of(place, store)
    store.between.does(way(cell))
    goes_away = cell.fault.endswith("for a while")
    coming_back = threading.Timer(SECONDS, store.between.does, ["passes on"])
    if goes_away:
        coming_back.start()
    code = place.here(run_id="second", start_from="promoted")
    expect(place, cell, code)
    store.between.does("passes on")
    if code != 0:
        assert place.here(run_id="second", start_from="promoted") == 0, place.words
    assert place.numbers("second") == second.numbers("second")
    assert place.leftovers() == []
    archive.verify(archive.join(promoted(place)["archive"].rpartition("/")[0], RUN_ID))


def promoted(place: Place) -> dict[str, Any]:
    from browser_control.records.registry import Registry

    record = Registry(place.folder / "models", "stand-in").read()
    assert record.promoted is not None
    return record.promoted.model_dump()


def test_every_cell_of_a_store_is_tried() -> None:
    tried = {"archives, at the start", "archive", "fetch-promoted"}
    assert {cell.what for cell in CELLS if cell.runtime == "s3"} == tried
