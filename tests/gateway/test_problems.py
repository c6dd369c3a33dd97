from collections.abc import Iterator

import msgspec
import pytest

from services.gateway.problems import (
    PROBLEMS,
    answer_to,
    answer_to_failure,
    answer_to_framework,
    look_up,
)
from shared.contract import Failure, JobId
from shared.errors import (
    BodyTooLarge,
    DeviceLost,
    Overloaded,
    QueueUnavailable,
    ServiceError,
)

JOB = JobId("8a4e7d1c-6f0e-4d2b-9d43-0c5a2b1f7e90")


def leaves(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    below = kind.__subclasses__()
    for sub in below:
        yield from leaves(sub)
    if not below:
        yield kind


@pytest.mark.parametrize("leaf", [*leaves(ServiceError)])
def test_every_error_has_its_problem(leaf: type[ServiceError]) -> None:
    problem = look_up(leaf)

    # Only what a caller never meets may fall back on the root's.
    assert problem is not PROBLEMS[ServiceError] or leaf.code in {"device_lost", "decode_error"}


def test_codes_are_unique() -> None:
    codes = [leaf.code for leaf in leaves(ServiceError)]

    assert len(codes) == len(set(codes))


def test_a_problem_has_the_members_of_the_rfc() -> None:
    answer = answer_to(BodyTooLarge(20, 10), instance="/predict")

    assert answer.status == 413
    assert answer.media == b"application/problem+json"
    assert (b"connection", b"close") in answer.headers
    assert msgspec.json.decode(answer.body) == {
        "type": "urn:penstock:problem:body_too_large",
        "title": "The body is too large",
        "status": 413,
        "detail": "body is at least 20 bytes, at most 10 are taken: split it into several requests",
        "instance": "/predict",
        "code": "body_too_large",
    }


def test_who_may_come_back_is_told_when() -> None:
    full = answer_to(Overloaded("full", retry_after_s=7), instance="/")
    away = answer_to(QueueUnavailable("away"), instance="/")

    assert (full.status, full.headers) == (429, ((b"retry-after", b"7"),))
    assert (away.status, away.headers) == (503, ((b"retry-after", b"1"),))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("input_too_long", 422),
        ("prediction_failed", 500),
        ("out_of_memory", 500),
        ("dead_lettered", 500),
        ("deadline_exceeded", 504),
        ("canceled", 409),
        ("of_a_later_version", 500),
    ],
)
def test_what_crossed_the_queue_has_the_status_of_its_class(code: str, status: int) -> None:
    answer = answer_to_failure(Failure(code, "why"), instance="/predict", job=JOB)

    body = msgspec.json.decode(answer.body)
    assert answer.status == body["status"] == status
    assert (body["code"], body["detail"], body["job"]) == (code, "why", JOB)


def test_the_framework_speaks_the_same_language() -> None:
    answer = answer_to_framework(405, "no", instance="/predict", headers=((b"allow", b"POST"),))

    body = msgspec.json.decode(answer.body)
    assert (body["code"], body["type"]) == ("method_not_allowed", "about:blank")
    assert (b"allow", b"POST") in answer.headers


def test_a_lost_device_is_the_services_fault() -> None:
    assert look_up(DeviceLost).status == 500
