"""Crews of workers in the hands of a cluster that loses them; without Ray."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.distributed import workers
from ingest.distributed.stage import Pool, on_ray
from ingest.job.pipeline import Opened, Outcome, Stopped, open_record
from store import ClusterUnavailable
from tests.ingest.fakes import FakeEncoder, record, vector_of
from tests.ingest.toy_ray import (
    Actor,
    ActorUnavailableError,
    ObjectLostError,
    RayActorError,
    ToyRay,
)

PLACE = "end of a batch"


def opened(number: int) -> Outcome:
    return open_record(record(number))


def task(number: int) -> Callable[[], Outcome]:
    """Opens an image where it is done, as a file; the even ones travel with their pixels."""
    return partial(opened, number) if number % 2 else partial(open_record, record(number))


def outcomes(items: list[Any], pool: Pool, **options: Any) -> list[Any]:
    """What comes of a plan: the numbers of its images, and whatever else it holds."""
    return list(run(items, pool, **options))


def run(items: list[Any], pool: Pool, **options: Any) -> Iterator[Any]:
    tasks = (task(item) if isinstance(item, int) else item for item in items)
    for found in on_ray(FakeEncoder, pool, **options)(tasks):
        if isinstance(found, Opened):
            number = int(found.id.rpartition("/")[2])
            assert found.vector is not None and found.pixels.size == 0
            assert found.vector.tobytes() == vector_of(record(number).pixels).tobytes()
            yield number
        else:
            yield found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of four images, of which a worker holds three."""
    monkeypatch.setattr(workers, "CHUNK", 4)
    monkeypatch.setattr(workers, "PIECE_BYTES", 2 * record(0).pixels.nbytes + 1)


@given(
    st.lists(st.one_of(st.integers(0, 50), st.just(PLACE)), max_size=60),
    st.booleans(),
    st.integers(0, 2**20),
    st.sets(st.integers(0, 40), max_size=4),
)
@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whoever_dies_outcomes_come_once_and_in_the_order_of_the_plan(
    small: None, items: list[Any], apart: bool, seed: int, deadly: set[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        toy = ToyRay(patch, 2, 2, 2, seed=seed)
        calls = iter(range(10**6))

        def before(actor: Actor, name: str) -> None:
            if name != "node" and next(calls) in deadly:
                toy.seed.choice(
                    [
                        lambda: actor.lose(RayActorError("it was killed")),
                        lambda: toy.lose(actor.at or 0),
                    ]
                )()
                toy.rooms.append(2)

        toy.before = before
        assert outcomes(items, Pool(workers=(1, 3)), apart=apart) == items
        assert toy.actors == []  # nobody keeps a core


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (lambda toy, actor: actor.lose(RayActorError("killed")), "worker"),
        (lambda toy, actor: toy.lose(actor.at), "node"),
        (lambda toy, actor: actor.lose(ActorUnavailableError("socket closed")), "node"),
    ],
)
def test_a_loss_is_said_once(
    loss: Any,
    kind: str,
    small: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    toy = ToyRay(monkeypatch, 2, 2)

    def before(actor: Actor, name: str) -> None:
        if len(toy.actors) == 4 and all(one.itself for one in toy.actors):  # all are at work
            toy.before = lambda actor, name: None
            for neighbour in [one for one in toy.actors if one.at == actor.at]:
                if kind == "node" or neighbour is actor:
                    loss(toy, neighbour)

    toy.before = before
    assert outcomes(list(range(200)), Pool(workers=(4, 4))) == list(range(200))
    assert caplog.messages == [
        f"a {kind} of the Ray cluster was lost; what was worked on there is done again"
    ]


def test_pixels_that_went_with_a_node_are_opened_again(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ToyRay(monkeypatch, 9)
    lost = []

    def before(actor: Actor, name: str) -> None:
        if name == "encode" and len(lost) < 3:
            pixels = actor.asked[0][2][0]
            pixels.error = ObjectLostError("its node died")
            lost.append(pixels)

    toy.before = before
    assert outcomes(list(range(30)), Pool(workers=(2, 2)), apart=True) == list(range(30))
    assert len(lost) == 3 and next(toy.started) <= 2 + 12  # no encoder was replaced


def test_no_more_pixels_wait_than_the_encoders_can_use(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ToyRay(monkeypatch, 40)
    toy.before = lambda actor, name: name != "encode" or toy.seed.random() < 0.02
    assert outcomes(list(range(400)), Pool(workers=(1, 1)), apart=True) == list(range(400))
    assert toy.most_opened <= 8


def test_no_more_bytes_of_pixels_travel_than_a_store_holds(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.distributed.stage.SENT_BYTES", 10 * record(0).pixels.nbytes)
    toy = ToyRay(monkeypatch, 9)
    read = [0]

    def plan() -> Iterator[Any]:
        for read[0] in range(100):
            yield partial(open_record, record(read[0]))

    taken = 0
    for _ in on_ray(FakeEncoder, Pool(workers=(1, 1)))(plan()):
        taken += 1
        assert read[0] <= taken + 16  # ten that travel, a part that came, one that is being filled
    assert taken == 100 and toy.actors == []


@pytest.mark.parametrize("apart", [False, True])
def test_a_worker_loads_the_encoder_once_and_only_where_it_encodes(
    apart: bool, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ToyRay(monkeypatch, 9)
    loaded: list[FakeEncoder] = []

    def load() -> FakeEncoder:
        loaded.append(FakeEncoder())
        return loaded[-1]

    stage = on_ray(load, Pool(workers=(2, 2)), apart=apart)
    assert len(list(stage(iter([task(number) for number in range(200)])))) == 200
    assert len(loaded) == 2 and sum(encoder.encoded for encoder in loaded) == 200


def test_the_crew_follows_the_work(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = ToyRay(monkeypatch, 9)
    assert outcomes([1, 2, 3], Pool(workers=(2, 8))) == [1, 2, 3]
    assert next(toy.started) == 2  # one chunk needs one worker, and two are the fewest
    toy = ToyRay(monkeypatch, 9)
    crew: list[int] = []
    for number, found in enumerate(run(list(range(800)), Pool(workers=(2, 8)))):
        assert found == number
        crew.append(len(toy.actors))
        toy.quick = 300 <= number < 600  # then the consumer is what takes long
        toy.now += 10 * toy.quick
    assert crew[200] == 8  # there is work for all of them
    assert crew[599] == 2  # a chunk comes every 40 s: six have had nothing to do for a minute
    assert max(crew[600:]) == 8


def test_workers_that_die_before_they_run_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = ToyRay(monkeypatch, 1)
    toy.before = lambda actor, name: actor.lose(RayActorError("said before\nno such library"))
    with pytest.raises(ClusterUnavailable) as told:
        outcomes([1, 2], Pool(workers=(1, 1)))
    assert str(told.value) == (
        "5 workers on Ray died before they ran: no such library; what was written stays, the same "
        "command goes on from there"
    )


def test_workers_that_die_now_and_then_before_they_run_are_replaced(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ToyRay(monkeypatch, 1)
    starts, works = [0], [0]

    def before(actor: Actor, name: str) -> None:
        starts[0] += name == "node"
        works[0] += name == "work"
        if starts[0] % 4 or works[0] % 3 == 2:
            actor.lose(RayActorError("short of memory"))
            works[0] += name == "work"

    toy.before = before
    assert outcomes(list(range(40)), Pool(workers=(1, 1))) == list(range(40))
    assert starts[0] > 12


def test_images_that_kill_every_worker_are_named_and_not_those_behind_them(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ToyRay(monkeypatch, 1)

    def before(actor: Actor, name: str) -> None:
        tasks, first, last = actor.asked[0][2] if name == "work" else (None, 0, 0)
        if tasks and any(one.args[0] == 13 for one in tasks.value[first:last]):
            actor.lose(RayActorError("out of memory"))

    toy.before = before
    with pytest.raises(ClusterUnavailable) as told:
        outcomes(list(range(1, 81, 2)), Pool(workers=(1, 1)))
    assert str(told.value) == (
        "5 workers died over the same 4 images, the first of them ?; look at the memory of the "
        "nodes, and at these files"
    )


def test_workers_that_wait_for_a_node_may_go_with_it(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ToyRay(monkeypatch, 1, 1)
    lost = []

    def before(actor: Actor, name: str) -> None:
        if name == "work" and len(toy.actors) == 9 and not lost:
            toy.lose(1)
            lost.extend(one for one in toy.actors if one is not actor)
            for one in lost:
                one.lose(RayActorError("it was cancelled before it ran"))

    toy.before = before
    assert outcomes(list(range(400)), Pool(workers=(1, 9))) == list(range(400))
    assert len(lost) > 5


def test_an_error_that_is_not_ours_is_told_by_its_last_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ToyRay(monkeypatch, 1)

    def broken() -> FakeEncoder:
        raise RuntimeError("Traceback\n  many lines\nno such weights\n")

    stage = on_ray(broken, Pool(workers=(1, 1)))
    with pytest.raises(ClusterUnavailable, match="the work on Ray failed: no such weights; what"):
        list(stage(iter([task(1)])))


# -- no room, and a stop ---------------------------------------------------------------------------


def test_no_room_is_said_and_waited_for_and_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    toy = ToyRay(monkeypatch, 0)
    begin = toy.now
    with pytest.raises(ClusterUnavailable) as told:
        outcomes([1], Pool(workers=(1, 1)))
    said = "no node of the Ray cluster has room for a worker (1 CPU)"
    assert caplog.messages == [f"{said}; waiting 60 s for one, Ctrl-C stops"]
    assert str(told.value) == (
        f"{said} since 60 s; what was written stays, the same command goes on from there when "
        "there is a node; look at: ray status"
    )
    assert 60 <= toy.now - begin < 62


def test_an_autoscaler_is_given_longer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    toy = ToyRay(monkeypatch, 0)
    end = toy.now + 500

    def meanwhile() -> None:
        if toy.now > end:
            toy.rooms[0] = 1

    toy.meanwhile = meanwhile
    assert outcomes([1, 2], Pool(workers=(1, 4), gpus=0.5), apart=False) == [1, 2]
    assert caplog.messages == [
        "no node of the Ray cluster has room for a worker (0.5 GPU, and 1 CPU to decode); waiting "
        "600 s for one, Ctrl-C stops"
    ]


def test_lost_nodes_are_counted_where_none_is_left(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ToyRay(monkeypatch, 1, 1)
    done: list[Any] = []

    def before(actor: Actor, name: str) -> None:
        if name == "work" and len(done) >= 20:
            toy.lose(0)
            toy.lose(1)

    toy.before = before
    with pytest.raises(ClusterUnavailable, match=r"since 60 s, 2 were lost during the work; what"):
        for one in run(list(range(80)), Pool(workers=(2, 2))):
            done.append(one)
    assert done == list(range(len(done))) and len(done) >= 20


def test_a_slow_worker_is_waited_for(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = ToyRay(monkeypatch, 1)
    toy.before = lambda actor, name: name == "node" or toy.now > 5000
    assert outcomes(list(range(9)), Pool(workers=(1, 1))) == list(range(9))


def test_a_stop_gives_the_batch_in_hand_a_moment(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = ToyRay(monkeypatch, 1)
    stop = threading.Event()
    slow = iter([2.5, 2.5, 2.5, 10**9])  # seconds for a part
    end = [0.0]

    def before(actor: Actor, name: str) -> bool:
        if name == "node":
            return True
        stop.set()
        end[0] = end[0] or toy.now + next(slow)
        late = toy.now >= end[0]
        end[0] = 0.0 if late else end[0]
        return late

    toy.before = before
    found: list[Any] = []
    with pytest.raises(Stopped):
        for one in run(list(range(40)), Pool(workers=(1, 1)), stop=stop):
            found.append(one)
    assert found == [0, 1, 2]  # and two parts of other chunks came before the rest of this
    assert toy.actors == []


def test_a_stop_waits_for_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = ToyRay(monkeypatch, 0)
    stop = threading.Event()
    toy.meanwhile = stop.set
    begin = toy.now
    with pytest.raises(Stopped):
        outcomes([1], Pool(workers=(1, 1)), stop=stop)
    assert toy.now - begin < 2


def test_what_the_plan_raises_comes_after_what_was_before_it(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ToyRay(monkeypatch, 2)

    def plan() -> Iterator[Any]:
        yield from map(task, range(10))
        raise OSError("the disk went")

    found = []
    with pytest.raises(OSError, match="the disk went"):
        for one in on_ray(FakeEncoder, Pool(workers=(2, 2)))(plan()):
            found.append(one.id)
    assert found == [record(number).id for number in range(10)]
