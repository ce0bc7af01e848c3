"""Owns the gateway under comparison: the usual FastAPI + httpx proxy with a bearer check before vLLM's server."""

import argparse
import hmac
import json
import os
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

API_KEY_VARIABLE = "GATEWAY_API_KEY"
KEPT_CONNECTIONS = 256


def build_app(upstream: str, api_key: str) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS)
    client = httpx.AsyncClient(base_url=upstream, timeout=None, limits=limits)

    def check_bearer(authorization: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(authorization.encode(), f"Bearer {api_key}".encode()):
            raise HTTPException(401, "the bearer token is not known")

    @app.post("/v1/chat/completions", dependencies=[Depends(check_bearer)])
    @app.post("/v1/completions", dependencies=[Depends(check_bearer)])
    async def forward(request: Request) -> Response:
        body = json.loads(await request.body())
        upstream_request = client.build_request("POST", request.url.path, json=body)
        answer = await client.send(upstream_request, stream=True)
        if body.get("stream"):
            return StreamingResponse(_relay(answer), answer.status_code, media_type="text/event-stream")
        content = await answer.aread()
        return Response(content, answer.status_code, media_type=answer.headers.get("content-type"))

    @app.get("/health")
    async def health() -> Response:
        return Response()

    return app


async def _relay(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    arguments = parser.parse_args()
    app = build_app(arguments.upstream, os.environ[API_KEY_VARIABLE])
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
