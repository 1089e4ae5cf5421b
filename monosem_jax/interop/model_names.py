"""The names by which published dictionaries call models, mostly TransformerLens', and those of the hub."""

from __future__ import annotations

HUB = {
    "gpt2-small": "openai-community/gpt2",
    **{name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")},
    **{f"gemma-{name}": f"google/gemma-{name}" for name in (
        "2b", "2b-it", "7b", "7b-it", "2-2b", "2-2b-it", "2-9b", "2-9b-it", "2-27b", "2-27b-it",
    )},
    **{f"gemma-3-{name}": f"google/gemma-3-{name}" for name in (
        "270m", "270m-it", "1b-pt", "1b-it", "4b-pt", "4b-it", "12b-pt", "12b-it", "27b-pt", "27b-it",
    )},
    **{f"pythia-{size}{end}": f"EleutherAI/pythia-{size}{end}" for size in (
        "14m", "31m", "70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b",
    ) for end in ("", "-deduped")},
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B", "meta-llama-3-8b-instruct": "meta-llama/Meta-Llama-3-8B-Instruct",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B", "mistral-7b": "mistralai/Mistral-7B-v0.1",
    **{f"qwen3-{size}b": f"Qwen/Qwen3-{size.upper()}B" for size in ("0.6", "1.7", "4", "8", "14")},
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M", "smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
}  # fmt: skip


PACKAGED = {"HuggingFaceTB/SmolLM2-135M-Instruct": "smollm2"}  # by their names on the hub


def location_of(name: str | None) -> str | None:
    """Where `monosem_jax.load_model` finds a model: the name of a packaged one, or hub:ORG/NAME; None: not known."""
    found = hub_name(name)
    return None if found is None else PACKAGED.get(found, f"hub:{found}")


def hub_name(name: str | None) -> str | None:
    """ORGANISATION/NAME of a model on the hub, None where it is not known."""
    if name is None:
        return None
    known = HUB.get(name.rpartition("/")[2].lower())
    return known or (name if name.count("/") == 1 and not name.startswith((".", "/")) else None)
