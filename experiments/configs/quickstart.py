"""The whole pipeline on the embedded corpus.

  python -m experiments.quickstart --workdir=runs/quickstart

Cost and expected numbers: see README.md, section "What the quickstart gives".
"""

from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.models.transformer import TransformerConfig
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.resample import ResampleConfig
from monosem_jax.stages.analyze import AnalyzeRunConfig
from monosem_jax.stages.quickstart import QuickstartConfig
from monosem_jax.stages.train_sae import SaeRunConfig
from monosem_jax.stages.train_transformer import TransformerRunConfig
from monosem_jax.text.pack import TextConfig
from monosem_jax.training.config import OptimizerConfig, ScheduleConfig, TrainConfig


def get_config() -> QuickstartConfig:
    transformer = TransformerRunConfig(
        text=TextConfig(vocab_size=4096),
        transformer=TransformerConfig(context_length=128),
        train=TrainConfig(
            steps=825,
            batch_size=16,  # contexts
            learning_rate=4e-3,
            optimizer=OptimizerConfig(b2=0.95, weight_decay=0.1, clip_norm=1.0),
            schedule=ScheduleConfig("cosine", warmup_steps=41),
            steps_per_dispatch=20,
            log_every=50,
            evaluate_every=150,
            checkpoint_every=75,
        ),
    )
    sae = SaeRunConfig(
        sae=ReluConfig(n_features=2048, l1_coefficient=0.006, input_scale="unit_rms"),
        train=TrainConfig(
            steps=6000,
            batch_size=256,  # many small steps: at equal rows a lower loss than few large ones
            learning_rate=7e-4,
            # An event raises the loss a hundredfold for some steps. Unclipped, Adam's second moments remember that for
            # the rest of so short a run, and rare features stay where they are. 0.05 is what the norm is otherwise.
            optimizer=OptimizerConfig(clip_norm=0.05),
            steps_per_dispatch=50,
            log_every=50,
            evaluate_every=300,
            checkpoint_every=500,
        ),
        # The paper resamples in the first tenth of a million steps. Features die from step 600 on here, and of those
        # that an event makes anew a part dies again, so there are eight events; the window of 150 steps is 38 k rows.
        resample=ResampleConfig(
            steps=(0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4), window=0.025, n_inputs=12_800, restart_adam=True
        ),
        evaluate=EvaluateConfig(contexts=0),
    )
    harvest = HarvestConfig(rows_per_context=76, bucket_rows=1 << 18)
    analyze = AnalyzeRunConfig(random_directions=64)  # each set is judged, which takes half a minute
    return QuickstartConfig(transformer=transformer, harvest=harvest, sae=sae, analyze=analyze)
