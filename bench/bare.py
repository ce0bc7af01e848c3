"""Owns the bare engine: `AsyncLLM.generate()` with nothing before it, the floor for a whole answer's time.

A process that speaks JSON lines: it says `{"ready": true}`, then answers each line `{"bodies": [...]}` (completion
requests with token ids, run one after the other) with the milliseconds that each took. It takes vLLM's own engine
arguments.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from typing import Any, TextIO

import uvloop


async def serve(arguments: list[str], answers: TextIO) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.utils.gc_utils import freeze_gc_heap
    from vllm.v1.engine.async_llm import AsyncLLM

    parser = AsyncEngineArgs.add_cli_args(FlexibleArgumentParser())  # type: ignore[no-untyped-call]
    engine_args = AsyncEngineArgs.from_cli_args(parser.parse_args(arguments))
    engine = AsyncLLM.from_engine_args(engine_args, usage_context=UsageContext.OPENAI_API_SERVER)
    freeze_gc_heap()
    try:
        _say(answers, {"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            latency_ms = [await _time_answer(engine, body) for body in json.loads(line)["bodies"]]
            _say(answers, {"latency_ms": latency_ms})
    finally:
        engine.shutdown(timeout=5)
        del engine  # before the interpreter ends: its finalizer needs modules


async def _time_answer(engine: Any, body: dict[str, Any]) -> float:
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    began_at = time.perf_counter()
    sampling = SamplingParams(
        max_tokens=body["max_tokens"],
        temperature=body["temperature"],
        ignore_eos=body["ignore_eos"],
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    prompt = TokensPrompt(prompt_token_ids=body["prompt"])
    outputs = [output async for output in engine.generate(prompt, sampling, uuid.uuid4().hex)]
    spent_ms = (time.perf_counter() - began_at) * 1e3
    if len(outputs[-1].outputs[0].token_ids) != body["max_tokens"]:
        raise RuntimeError("the bare engine's answer is shorter than asked for")
    return spent_ms


def _say(answers: TextIO, message: dict[str, Any]) -> None:
    print(json.dumps(message), file=answers, flush=True)


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # vLLM logs to standard output: keep the answers' pipe clean
    uvloop.run(serve(sys.argv[1:], answers))


if __name__ == "__main__":
    main()
