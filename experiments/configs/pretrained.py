"""The quickstart on a pretrained model: a BatchTopK dictionary of its residual stream after the middle block.

  python -m experiments.quickstart --workdir=runs/smollm2 --model=smollm2

Cost and expected numbers for SmolLM2: see experiments/results/pretrained.md. `--config.analyze.n_features=0` gives
every feature a record, which takes longer than everything else.
"""

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.analysis.kinds.causes import EffectsConfig
from monosem_jax.analysis.kinds.judges import JudgeConfig
from monosem_jax.analysis.kinds.table import KindsConfig
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.sae.architectures.batchtopk import BatchTopKConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.analyze import AnalyzeRunConfig
from monosem_jax.stages.import_model import ImportModelConfig
from monosem_jax.stages.quickstart import PretrainedQuickstartConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> PretrainedQuickstartConfig:
    sae = SaeRunConfig(
        # The published code calls a feature dead after five batches; here batches are an eighth as large.
        sae=BatchTopKConfig(n_features=4608, k=32, tied_norm=0.1, dead_rows=100_000),
        train=TrainConfig(
            steps=2000,
            batch_size=512,
            learning_rate=1e-3,
            optimizer=OptimizerConfig(clip_norm=1.0),
            schedule=ScheduleConfig("linear", warmup_steps=100),
            steps_per_dispatch=20,
            log_every=50,
            evaluate_every=500,
            checkpoint_every=250,
        ),
        resample=ResampleConfig(steps=()),
        evaluate=EvaluateConfig(contexts=64),
    )
    harvest = HarvestConfig(site="", rows_per_context=100, n_rows=100 * 2560, batch_contexts=16)
    # What runs the model again and again is asked of fewer features than on a model of one block.
    kinds = KindsConfig(
        judge=JudgeConfig(n_features=40, judges=("token_set", "label_rule")),
        effects=EffectsConfig(ablated=12, direct=6, pinned=6, steered=()),
    )
    analyze = AnalyzeRunConfig(
        random_directions=64,
        training_contexts=192,
        heldout_contexts=320,
        batch_contexts=8,
        n_features=384,
        kinds=kinds,
        without=("sources", "rating"),
    )
    return PretrainedQuickstartConfig(
        transformer=ImportModelConfig(model="smollm2"), harvest=harvest, sae=sae, analyze=analyze
    )
