"""Whose a chat is: nobody else's requests find it, nor their sockets."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from kodify.api import chat_socket
from kodify.engine.scripted import Script
from tests.api.test_errors import assert_error
from tests.auth.test_users import Company, company, found_company
from tests.chats.conftest import Talk, begin_talk
from tests.conftest import Serve, eventually

__all__ = ["company"]

PAGE = {"x-kodify-page": "1"}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def every_request(client: httpx.Client, talk: Talk) -> list[httpx.Response]:
    return [
        client.get(f"{talk.path}/history"),
        client.post(f"{talk.path}/send_message", json={"message": "a"}),
        client.post(f"{talk.path}/stop"),
        client.patch(talk.path, json={"title": "mine"}),
        client.delete(talk.path),
    ]


def listed(client: httpx.Client) -> list[str]:
    return [chat["chat_id"] for chat in client.get("/api/v1/chats").json()["data"]]


def refused(talk: Talk, **options: Any) -> int:
    with pytest.raises(InvalidStatus) as found, talk.socket(**options):
        pass
    body = json.loads(found.value.response.body)
    assert body["code"] == found.value.response.status_code
    return int(body["code"])


def test_a_users_chats_are_the_users_alone(company: Company) -> None:
    ann, bob = company.hire("ann@example.com"), company.hire("bob@example.com")
    talk = begin_talk(company.served, bearer(ann), title="a secret")
    talk.say("Hi")
    talk.answered()
    before = talk.history()
    for token in (bob, company.root_token):
        with company.client(token) as client:
            for answer in every_request(client, talk):
                assert_error(answer, 404, "NotFoundError")
            assert listed(client) == []
        assert refused(Talk(talk.served, talk.id, bearer(token))) == 404
    with company.client() as client:
        for answer in every_request(client, talk):
            assert_error(answer, 401, "UnauthorizedError")
    assert refused(Talk(talk.served, talk.id)) == 401
    assert refused(Talk(talk.served, talk.id, bearer("kdf_wrong"))) == 401
    assert talk.history() == before
    with company.client(ann) as client:
        assert listed(client) == [talk.id]
    with talk.socket() as socket:
        talk.say("Hi again")
        socket.until("generated")


def test_an_answer_of_anothers_chat_is_not_told_by_after(company: Company) -> None:
    ann, bob = company.hire("ann@example.com"), company.hire("bob@example.com")
    secret = begin_talk(company.served, bearer(ann))
    told = secret.say("Hi")
    secret.answered()
    own = begin_talk(company.served, bearer(bob))
    with own.socket(f"?after={told['answer_id']}:0") as socket:
        own.say("Hello")
        assert socket.next()["status"] == "message"


def test_a_page_opens_a_socket_with_its_cookie_and_no_other_sites_page_does(company: Company) -> None:
    with company.client() as client:
        client.post("/session", json={"token": company.hire("ann@example.com")}, headers=PAGE)
        cookie = f"kodify_session={client.cookies['kodify_session']}"
        chat_id = client.post("/api/v1/chat", headers=PAGE).json()["chat_id"]
    address = f"{company.served.url.replace('http', 'ws', 1)}/api/v1/chat/{chat_id}/ws"
    with connect(address, additional_headers={"cookie": cookie}, origin=Origin(company.served.url)) as connection:
        connection.send('{"type": "send", "message": "Hi"}')
        assert json.loads(connection.recv(timeout=20))["message"] == "Hi"
    for origin in (Origin("http://evil.example.com"), None):
        with pytest.raises(InvalidStatus) as found:
            connect(address, additional_headers={"cookie": cookie}, origin=origin)
        assert found.value.response.status_code == 401


def test_a_token_that_is_revoked_ends_its_sockets(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_socket, "STILL_WHO_EVERY_S", 0.2)
    talk = begin_talk(company.served, bearer(company.hire("ann@example.com")))
    with talk.socket() as socket:
        with company.root() as root:
            assert root.post("/disable_by_email", data={"email": "ann@example.com"}).status_code == 200
        with pytest.raises(ConnectionClosed) as closed:
            socket.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


@pytest.mark.parametrize("variables", [{}, {"VLLM_API_KEY": SecretStr("sesame")}])
def test_browsers_have_chats_of_their_own(serve: Serve, chats: dict[str, object], variables: dict[str, object]) -> None:
    served = serve(**chats, **variables)
    eventually(lambda: bool(served.app.state.ready))
    headers = {**PAGE, **(bearer("sesame") if variables else {})}
    with served.client(**headers) as first, served.client(**headers) as second:
        for client in (first, second):
            client.get("/session")
        talk = Talk(served, first.post("/api/v1/chat", json={}).json()["chat_id"])
        assert listed(first) == [talk.id]
        assert listed(second) == []
        for answer in every_request(second, talk):
            assert_error(answer, 404, "NotFoundError")
        assert first.get(f"{talk.path}/history").status_code == 200


def test_a_client_without_a_cookie_knows_its_chats_by_their_ids(serve: Serve, chats: dict[str, object]) -> None:
    served = serve(**chats)
    talk = begin_talk(served)
    with served.client() as client:
        assert listed(client) == []
    talk.say("Hi")
    talk.answered(status="done")


def test_limits_hold_until_the_answer_has_ended(
    serve: Serve, users: dict[str, object], chats: dict[str, object]
) -> None:
    company = found_company(serve, {**users, **chats, "LIMIT_CONCURRENT_REQUESTS": 1, "LIMIT_TOKENS_PER_DAY": 60})
    ann = bearer(company.hire("ann@example.com"))
    engine: Any = company.served.engine
    engine.script = Script(endless=True, pause_s=0.01)
    first, second = begin_talk(company.served, ann), begin_talk(company.served, ann)
    first.say("x" * 50)
    assert_error(second.ask("POST", "/send_message", json={"message": "a"}), 429, "RateLimitError")
    eventually(lambda: len(first.messages()[-1]["content"]) > 100)  # more than ten tokens
    first.ask("POST", "/stop")
    first.answered(status="stopped")

    def told() -> str:
        message: str = second.ask("POST", "/send_message", json={"message": "a"}).json()["message"]
        return message

    eventually(lambda: told().startswith("At most 60 tokens a day"))
    assert second.messages() == []


def test_an_administrator_sees_and_ends_an_answer_that_nobody_listens_to(company: Company) -> None:
    engine: Any = company.served.engine
    engine.script = Script(endless=True, pause_s=0.01)
    talk = begin_talk(company.served, bearer(company.hire("ann@example.com")))
    talk.say("Hi")
    with company.root() as root:
        eventually(lambda: bool(root.get("/api/v1/admin/running").json()["data"]))
        (running,) = root.get("/api/v1/admin/running").json()["data"]
        assert (running["user"], running["model"]) == ("ann@example.com", "scripted")
        assert root.delete(f"/api/v1/admin/running/{running['id']}").status_code == 204
    talk.answered(status="error")
