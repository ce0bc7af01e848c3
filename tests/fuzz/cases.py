"""Cases that schemathesis makes of the OpenAPI document, those that fit it and those that don't."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.answers import complaint

CHECKS = [content_type_conformance, response_schema_conformance, status_code_conformance]
TIMEOUT_S = 60
NO_ANSWER = 599
Take = Callable[[str, int, str | None], object]


def run(
    url: str,
    count: int,
    take: Take,
    headers: Mapping[str, str] | None = None,
    *,
    group: str | None = None,
    begin_at: int = 0,
) -> None:
    """About `count`, over every operation, or a group's; others for another `begin_at`. `take` hears of each: what it
    was, its status and what is wrong with its answer."""
    document = requests.get(f"{url}/openapi.json", timeout=60).json()
    schema: Any = schemathesis.openapi.from_dict(document)
    if group is not None:
        schema = schema.include(tag=group)
    operations = [found.ok() for found in schema.get_all_operations()]
    each = max(1, count // (2 * len(operations)))
    with requests.Session() as session:
        session.headers.update(headers or {})
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _run_operation(operation, mode, each, begin_at, lambda case: take(*_sent(case, url, session)))


def _run_operation(
    operation: Any, mode: GenerationMode, count: int, begin_at: int, send: Callable[[Any], object]
) -> None:
    @seed(begin_at)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def every(case: Any) -> None:
        send(case)

    try:
        every()
    except Unsatisfiable:
        return  # nothing can be wrong with a request that has no parts


def _sent(case: Any, url: str, session: requests.Session) -> tuple[str, int, str | None]:
    what = f"{case.method} {case.formatted_path} {case.query!r} {case.body!r}"[:1500]
    try:
        answer = case.call(base_url=url, session=session, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        return what, NO_ANSWER, repr(error)
    media = (answer.headers.get("content-type") or [""])[0]
    wrong = complaint(answer.status_code, media, answer.content)
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as failures:
        wrong = wrong or "; ".join(f"{one.title}: {one.message}" for one in failures.exceptions)[:1500]
    return what, answer.status_code, wrong
