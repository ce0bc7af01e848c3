"""Every operation of the OpenAPI document, with what fits it and with what does not: no 5xx, and what is documented."""

from __future__ import annotations

from collections import Counter

from pydantic import SecretStr

from kodify.settings import Settings
from tests.auth.test_users import found_company
from tests.conftest import Serve, eventually, serving
from tests.fuzz import cases
from tests.fuzz.strict import strict_engines

TOKEN = "sesame"


class Tally:
    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []

    def take(self, what: str, status: int, wrong: str | None) -> None:
        self.statuses[status] += 1
        if wrong is not None or status >= 500:
            self.wrong.append(f"{what}: {status} {wrong}")


def test_cases_of_a_user(settings: Settings, chats: dict[str, object]) -> None:
    place = {name.lower(): value for name, value in chats.items()}
    own = settings.model_copy(update={"vllm_api_key": SecretStr(TOKEN), **place})
    tally = Tally()
    with serving(own, strict_engines()) as served:
        eventually(lambda: bool(served.app.state.ready))
        cases.run(served.url, 500, tally.take, {"authorization": f"Bearer {TOKEN}"})
        with served.client() as client:
            eventually(lambda: client.get("/ready").json()["running"] == 0)
    assert tally.wrong == []
    assert tally.statuses[200] > 50
    assert tally.statuses[400] > 30


def test_cases_without_a_token(settings: Settings) -> None:
    own = settings.model_copy(update={"vllm_api_key": SecretStr(TOKEN)})
    tally = Tally()
    with serving(own, strict_engines()) as served:
        eventually(lambda: bool(served.app.state.ready))
        cases.run(served.url, 120, tally.take)
    assert tally.wrong == []
    assert tally.statuses[401] > 30


def test_cases_of_an_administrator(serve: Serve, users: dict[str, object]) -> None:
    company = found_company(serve, users)
    tally = Tally()
    cases.run(company.served.url, 150, tally.take, {"authorization": f"Bearer {company.root_token}"}, group="Users")
    assert tally.wrong == []
    assert tally.statuses[422] > 5
