"""Imports a pretrained model: a directory that stands for a transformer in every later stage, with a text of yours.

  python -m experiments.import_model --workdir=runs/smollm2 --config.model=smollm2
  python -m experiments.import_model --workdir=runs/llama --config.model=PATH/Llama-3.2-1B --config.text.corpus=PATH
  python -m experiments.import_model --workdir=runs/gpt2 --config.model=hub:openai-community/gpt2

A model is a Hugging Face directory (config.json, *.safetensors, tokenizer.json), a .gguf file, one of the hub, or one
that comes inside a package: smollm2, glassllm. The weights stay where they are.
"""

from experiments.entry import Experiment, launch


def stage(flags):
    from monosem_jax.stages import import_model

    return import_model.import_model


EXPERIMENT = Experiment(__doc__, stage)

if __name__ == "__main__":
    launch(EXPERIMENT)
