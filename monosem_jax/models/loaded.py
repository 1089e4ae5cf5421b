"""A language model from any place, for use in Python: `monosem_jax.load_model`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike
from tokenizers import Tokenizer

from monosem_jax.models.base import LanguageModel, named_site, site_widths
from monosem_jax.models.chat import Message, chat_tokens
from monosem_jax.models.generate import Generated, Options, Prompt, generate, prompt_tokens
from monosem_jax.models.pretrained import open_pretrained
from monosem_jax.models.run import ImportedModelRun, TransformerRun
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.weights.conventions import Conventions
from monosem_jax.models.writing import Edit
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import token_ids
from monosem_jax.text.tokenizer import bos_id


class Texts(NamedTuple):
    """A model's tokenizer, the token that begins a context, and how its texts begin and end."""

    tokenizer: Tokenizer
    bos: int
    conventions: Conventions


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A language model with its parameters and, where there is a tokenizer, what reads and writes its texts: it is
    asked for when it is needed, and BadInput then says that there is none.

    Sites are names such as "resid_post.5", or TransformerLens' such as "blocks.5.hook_resid_post".
    """

    model: LanguageModel
    params: Mapping[str, Any]
    texts: Callable[[], Texts]

    @functools.cached_property
    def _texts(self) -> Texts:
        return self.texts()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._texts.tokenizer

    @property
    def bos(self) -> int:
        """The token that begins a context."""
        return self._texts.bos

    @property
    def conventions(self) -> Conventions:
        """How its texts begin and end."""
        return self._texts.conventions

    @property
    def config(self) -> Any:
        """The shape of the model."""
        return self.model.config

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all its sites."""
        return self.model.sites

    @pinned()
    def logits(self, tokens: ArrayLike) -> jax.Array:
        """[C,T] tokens → [C,T,V] logits in fp32. Raises BadInput unless the tokens are whole numbers below V."""
        return self._logits(self._on_device, self._checked("logits", tokens))

    @pinned()
    def to_acts(self, tokens: ArrayLike, site: str) -> tuple[Any, jax.Array]:
        """[C,T] tokens → (carry, activations [C,T,M] at a site). Several sites, joined by "+", have no carry."""
        site = named_site(site)
        site_widths(self.model, site)
        return self._to_acts(self._on_device, self._checked("to_acts", tokens), site)

    @pinned()
    def from_acts(self, carry: Any, acts: ArrayLike, site: str) -> jax.Array:
        """Continues from activations [C,T,M] at a site: → logits [C,T,V]."""
        return self._from_acts(self._on_device, carry, jnp.asarray(acts), named_site(site))

    def tapped(self, site: str) -> TappedModel:
        """The model cut at a site, in the form that analyses take."""
        site = named_site(site)
        site_widths(self.model, site)
        return TappedModel(self.model, self.params, site, self.bos)

    @pinned()
    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        n: int,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        stop: str | int | Sequence[int | str] | None = (),
        samples: int = 1,
        edit: Edit | None = None,
    ) -> Generated:
        """Goes on from a prompt for at most `n` tokens, or from several prompts together.

        What is drawn for a text depends on the seed, its prompt and its number among the samples of that prompt, not on
        the texts beside it.

        Args:
          prompt: a text (special tokens in it are plain text) or token ids, or a list of either.
          temperature: divides the logits; 0: the most probable token each time.
          top_p, top_k: only the most probable tokens that together have probability p; only the k most probable (0:
            all). With both, k counts first.
          stop: strings and tokens that end a text, besides those that end the model's texts anyway; None: none does,
            and texts have n tokens.
          samples: texts for each prompt.
          edit: what is done to activations meanwhile, such as a feature held at a value (`FeatureSet.held`).

        Raises BadInput on impossible values, and where a text would be longer than the model's contexts.
        """
        options = Options(temperature, top_p, top_k, seed, stop, samples)
        return generate(self._tapped, self.tokenizer, self.conventions, prompt, n, options, edit)

    def chat(self, messages: str | Sequence[Message], n: int = 256, **options: Any) -> Generated:
        """The model's answer to a message, or to a list of messages {"role": …, "content": …}; `options` are those of
        `generate`. Raises BadInput like `chat_tokens`."""
        return self.generate(self.chat_tokens(messages), n, **options)

    def chat_tokens(self, messages: str | Sequence[Message], *, reply: bool = True) -> np.ndarray:
        """The token ids of a conversation by the model's chat template; with `reply`, up to where its answer begins.

        Special tokens are those that the template writes; in a message the same characters are plain text. Raises
        BadInput where the model has no template, or the template refuses the messages.
        """
        return chat_tokens(messages, self.conventions, self.tokenizer, reply=reply)

    def tokens(self, text: str) -> np.ndarray:
        """The token ids of a text as a prompt: with those that the model's texts begin with."""
        return prompt_tokens(self.tokenizer, self.conventions, text)

    def _checked(self, what: str, tokens: ArrayLike) -> jax.Array:
        return jnp.asarray(token_ids(what, tokens, self.config.vocab_size))

    @functools.cached_property
    def _on_device(self) -> Any:
        return jax.device_put(self.params)

    @functools.cached_property
    def _tapped(self) -> TappedModel:
        return TappedModel(self.model, self._on_device, self.model.sites[0], self.bos)

    @functools.cached_property
    def _logits(self) -> Any:
        return jax.jit(lambda params, tokens: self.model.apply({"params": params}, tokens))

    @functools.cached_property
    def _to_acts(self) -> Any:
        def cut(params: Any, tokens: jax.Array, site: str) -> Any:
            return self.model.apply({"params": params}, tokens, site, method=self.model.to_acts)

        return jax.jit(cut, static_argnums=2)

    @functools.cached_property
    def _from_acts(self) -> Any:
        def continued(params: Any, carry: Any, acts: jax.Array, site: str) -> Any:
            return self.model.apply({"params": params}, carry, acts, site, method=self.model.from_acts)

        return jax.jit(continued, static_argnums=3)


def of_run(run: TransformerRun) -> LoadedModel:
    """The model of a run directory."""
    if isinstance(run, ImportedModelRun):
        conventions = run.pretrained.conventions
    else:  # BOS begins every text and stands between texts
        conventions = Conventions((run.text.bos,), (run.text.bos,), where=str(run.path))
    return LoadedModel(run.model, run.params, lambda: Texts(run.text.tokenizer, run.text.bos, conventions))


def of_files(location: str, mesh: Mesh | None = None, dtype: Any = jnp.float32) -> LoadedModel:
    """A pretrained model. With a mesh, its parameters are read straight onto it, each device its own part. Without
    tokenizer.json it reads token ids.

    Args:
      dtype: of the parameters; matmuls run in it too.
    """
    found = open_pretrained(location)
    found.check(tokenizer=found.source.has_tokenizer)

    @functools.cache
    def texts() -> Texts:
        return Texts(found.tokenizer, bos_id(found.tokenizer), found.conventions)

    if found.source.has_tokenizer:  # what is wrong with it is said before weights are read
        texts()
    return LoadedModel(found.model(dtype), found.params(mesh, dtype), texts)
