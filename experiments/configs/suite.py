"""A BatchTopK dictionary of the residual stream after every layer of a model, from one pass over its text.

  python -m experiments.suite --workdir=runs/suite --config.transformer=runs/model --config.harvest.site="resid_post.*"

The sites of one pass are in memory together: a bucket of 65,536 rows of all of them, twice (width 576: 0.15 GB a site),
and on disk: 1.2 KB a row and site. Fewer layers: --config.harvest.site=resid_post.5,resid_post.15,resid_post.25. Each
dictionary is trained on 2 M rows, eight times as wide as SmolLM2's residual stream; its input is scaled by its own
store's mean square, so that one k and one learning rate serve every site.
"""

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.sae.architectures.batchtopk import BatchTopKConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.analyze import AnalyzeRunConfig
from monosem_jax.stages.suite import SuiteConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, TrainConfig


def get_config() -> SuiteConfig:
    harvest = HarvestConfig("resid_post.*", rows_per_context=100, bucket_rows=1 << 16, batch_contexts=32)
    sae = SaeRunConfig(
        sae=BatchTopKConfig(n_features=4608, k=32, dead_rows=5 * 1024, input_scale="unit_rms"),
        train=TrainConfig(
            steps=2000,
            batch_size=1024,
            learning_rate=1e-3,
            optimizer=OptimizerConfig(b2=0.99),
            steps_per_dispatch=10,
            log_every=50,
            evaluate_every=500,
            checkpoint_every=500,
        ),
        resample=ResampleConfig(steps=()),
        evaluate=EvaluateConfig(contexts=64),
    )
    return SuiteConfig(harvest=harvest, sae=sae, analyze=AnalyzeRunConfig(random_directions=64, n_features=256))
