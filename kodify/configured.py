"""The engines that the settings name."""

from __future__ import annotations

from collections.abc import Iterator

from kodify.engines import Engines, Served
from kodify.settings import Settings
from kodify.shipped import find_file

UPSTREAM_PATIENCE_S = 10.0


def build_engines(settings: Settings) -> Engines:
    from kodify.engine.vllm import VllmEngine
    from kodify.engine.vllm_embed import VllmEmbedder

    served = []
    for entry, own in settings.models:
        label, required = own.served_names[0], entry is None or entry.required
        if entry is not None and entry.task == "embed":
            served.append(Served(VllmEmbedder(own), label, "embed", required=required))
        else:
            adapters = entry.adapters if entry is not None else {}
            engine = VllmEngine(own, adapters)
            served.append(Served(engine, label, "generate", own.preset_path, required, adapters))
    if settings.file.upstreams:
        served.extend(build_upstreams(settings, has_models=bool(served)))
    return Engines(
        served,
        settings.file.tabby.model_name,
        most_waiting=settings.max_waiting_requests,
        most_waiting_tokens=settings.max_waiting_tokens,
    )


def build_upstreams(settings: Settings, *, has_models: bool) -> Iterator[Served]:
    """Those of each task together. Beside models of its own Kodify does not wait for them for ever."""
    from kodify.engine.upstream import UpstreamEngine
    from kodify.engine.upstream_embed import UpstreamEmbedder
    from kodify.engine.upstream_pool import UpstreamOptions
    from kodify.preprocess.presets import read_preset

    options: dict[str, list[UpstreamOptions]] = {}
    for one in settings.file.upstreams:
        key = one.api_key.get_secret_value() if one.api_key is not None else None
        options.setdefault(one.task, []).append(UpstreamOptions(one.url, key, tuple(one.models), one.idle_timeout_s))
    patience_s = UPSTREAM_PATIENCE_S if has_models else None
    if generating := options.get("generate"):
        path = None if has_models else settings.completions_preprocessing_config
        markers = read_preset(find_file(path)).every_token if path is not None else ()
        engine = UpstreamEngine(generating, markers=markers, patience_s=patience_s)
        yield Served(engine, "upstreams", preset_path=path, required=not has_models, is_here=False)
    if embedding := options.get("embed"):
        embedder = UpstreamEmbedder(embedding, patience_s=patience_s)
        yield Served(embedder, "embedding upstreams", "embed", required=not has_models, is_here=False)
