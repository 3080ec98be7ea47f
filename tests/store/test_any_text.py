"""No name hurts a gallery: the state machine of any_text.py, in a folder and in a bucket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.store.any_text import AnyText
from tests.store.bucket import environment, make_bucket, s3_server

_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def _run(machine: type[AnyText], examples: int, steps: int) -> None:
    wanted = settings(
        max_examples=examples,
        stateful_step_count=steps,
        # A step writes to disk: looking for the shortest way to a failure takes many minutes.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=_CHECKS,
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=wanted)


@pytest.fixture(name="bucket", scope="module")
def _bucket() -> Iterator[type[AnyText]]:
    with s3_server() as port, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(f"http://127.0.0.1:{port}").items():
            patch.setenv(name, value)

        class InBucket(AnyText):
            keeps_former = False

            def place(self) -> str:
                return make_bucket(port)

        yield InBucket


def test_a_folder() -> None:
    _run(AnyText, examples=3, steps=8)


def test_a_bucket(bucket: type[AnyText]) -> None:
    _run(bucket, examples=2, steps=6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_folder_at_length() -> None:
    _run(AnyText, examples=300, steps=40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_bucket_at_length(bucket: type[AnyText]) -> None:
    _run(bucket, examples=15, steps=25)
