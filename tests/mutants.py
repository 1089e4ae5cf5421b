"""Deliberate faults, one at a time, each of which the tests must notice.

  python tests/mutants.py [--only=TEXT] [--jobs=N] [--timeout=SECONDS] [--unchanged] [--tests-map=FILE]

For every mutant the checkout is copied into a scratch folder, one piece of text is replaced there, and the tests that
are about it are run: "killed" means that one of them fails, "survived" that none does, which is a gap in the tests.
A fault is found by its text, which must be there exactly once in monosem_jax/, experiments/ and launch/, and not by a
file's name, so that moving code costs nothing; "text not found" means that this list must be brought up to date.

  --only        mutants whose name contains this text
  --unchanged   runs the tests of the chosen mutants without a fault: all must pass, else "killed" says nothing
  --tests-map   JSON for a checkout in which things lie elsewhere:
                {"tests": {path: path there}, "text": {name of a mutant: [find, replace]}}
  --root        the checkout (this one)

The exit code is 0 when every mutant was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("monosem_jax", "experiments", "launch")
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "runs", "build", "dist", "*.egg-info")
PASSED, FAILED, INTERRUPTED = 0, 1, 2  # exit codes of pytest; the last one where a test cannot be imported


class Mutant(NamedTuple):
    """A fault: what it is, the text that it replaces, and the tests (below tests/) that notice it."""

    name: str
    find: str
    replace: str
    tests: tuple[str, ...]


def main() -> int:
    """Runs the command line and returns the exit code."""
    options = parse()
    moved = json.loads(options.tests_map.read_text()) if options.tests_map else {}
    chosen = [adapted(m, moved) for m in MUTANTS if options.only in m.name]
    if options.unchanged:
        return unchanged(chosen, options)
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda m: judge(m, options), chosen))
    counts = Counter(found)
    print(f"{len(found)} mutants: " + ", ".join(f"{n} {what}" for what, n in counts.most_common()))
    return 0 if set(counts) <= {"killed"} else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--unchanged", action="store_true")
    parser.add_argument("--tests-map", type=pathlib.Path)
    parser.add_argument("--root", type=pathlib.Path, default=ROOT)
    return parser.parse_args()


def adapted(mutant: Mutant, moved: dict) -> Mutant:
    """The mutant as it is in a checkout in which things lie elsewhere."""
    find, replace = moved.get("text", {}).get(mutant.name, (mutant.find, mutant.replace))
    places = moved.get("tests", {})

    def place(test: str) -> str:
        if test in places:
            return places[test]
        file, mark, name = test.partition("::")
        return places.get(file, file) + mark + name

    return Mutant(mutant.name, find, replace, tuple(place(test) for test in mutant.tests))


def judge(mutant: Mutant, options: argparse.Namespace) -> str:
    """What becomes of a mutant, in one word or two; prints a line."""
    begin = time.monotonic()
    with scratch(options.root) as folder:
        code = run(pathlib.Path(folder), mutant.tests, options) if insert(pathlib.Path(folder), mutant) else None
    kinds = {PASSED: "survived", FAILED: "killed", INTERRUPTED: "killed", None: "text not found", -1: "timeout"}
    verdict = kinds.get(code, f"not judged: pytest's exit code is {code}")
    print(f"{verdict:<14} {time.monotonic() - begin:6.1f} s  {mutant.name}", flush=True)
    return verdict


def insert(folder: pathlib.Path, mutant: Mutant) -> bool:
    """Replaces the text; False when it is not there exactly once."""
    files = [p for name in PACKAGES for p in (folder / name).rglob("*.py")]
    found = [(p, text) for p in files if mutant.find in (text := p.read_text(encoding="utf-8"))]
    if len(found) != 1 or found[0][1].count(mutant.find) != 1:
        return False
    file, text = found[0]
    file.write_text(text.replace(mutant.find, mutant.replace), encoding="utf-8")
    return True


def unchanged(chosen: list[Mutant], options: argparse.Namespace) -> int:
    """Runs the tests of all mutants on the code as it is."""
    tests = sorted({test for m in chosen for test in m.tests})
    with scratch(options.root) as folder:
        return run(pathlib.Path(folder), tests, options, show=True)


def scratch(root: pathlib.Path) -> tempfile.TemporaryDirectory:
    """A copy of the checkout."""
    folder = tempfile.TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True)
    shutil.copytree(root, folder.name, ignore=LEFT_OUT, dirs_exist_ok=True)
    return folder


def run(
    folder: pathlib.Path, tests: list[str] | tuple[str, ...], options: argparse.Namespace, show: bool = False
) -> int:
    """Runs tests in a copy; pytest's exit code, -1 when they take too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={ROOT / '.pytest_cache' / 'mutants'}"]
    command += [] if show else ["-x"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    output = None if show else subprocess.DEVNULL
    process = subprocess.Popen(
        [*command, *(f"tests/{test}" for test in tests)], cwd=folder, env=environment, stdout=output, stderr=output,
        start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(None if show else options.timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # what the tests started too
        process.wait()
        return -1


MUTANTS = [
    Mutant(
        "checksum: the place of an element does not count",
        "mixed = bits ^ (place * xp.asarray(0x9E3779B9, xp.uint32))",
        "mixed = bits",
        ("runtime/checkpoint/test_checksum.py",),
    ),
    Mutant(
        "checkpoint: arrays are not compared with their checksums",
        "            if known.get(path) != value:",
        "            if known.get(path) == 0:",
        (
            "runtime/checkpoint/test_damage.py::test_a_number_that_changed_is_noticed_by_the_checksum_alone",
            "runtime/checkpoint/test_damage.py::test_what_is_not_a_parameter_is_compared_too",
        ),
    ),
    Mutant(
        "checkpoint: a step without its last file counts as whole",
        "if p.name.isdigit() and (p / METADATA).exists())",
        "if p.name.isdigit())",
        ("runtime/checkpoint/test_leftovers.py",),
    ),
    Mutant(
        "checkpoint: a step is deleted file by file in its place",
        'condemned = self.path / DELETED.replace("*", str(step))',
        "condemned = self.path / str(step)",
        ("runtime/checkpoint/test_leftovers.py::test_a_step_is_out_of_sight_before_any_of_its_files_goes",),
    ),
    Mutant(
        "locations: a link is followed after .. is removed",
        "found = os.path.realpath(whole, strict=True)",
        "found = os.path.realpath(os.path.abspath(whole), strict=True)",
        ("runtime/test_locations.py::test_a_path_is_absolute_and_as_the_kernel_reads_it",),
    ),
    Mutant(
        "locations: a scheme with one slash is a folder",
        "ONE_SLASH.match(text) is not None",
        "False",
        ("runtime/test_locations.py::test_a_url_is_no_path_on_this_machine",),
    ),
    Mutant(
        "locations: paths in sections stay as they are",
        'value = located(value, f"{name}.")',
        "pass",
        ("runtime/test_locations.py::test_every_path_of_a_configuration_is_located_and_nothing_else",),
    ),
    Mutant(
        "config: recorded paths are compared as text",
        "found[key] = place.same(value)",
        "found[key] = value",
        ("runtime/test_locations.py::test_paths_are_compared_as_they_would_be_given_now",),
    ),
    Mutant(
        "checkpoint: a step of another run is read",
        'if here is not None and here != run.get("identity"):',
        "if here == 0:",
        ("runtime/checkpoint/test_identity.py::test_a_step_of_another_run_is_refused_with_both_names",),
    ),
    Mutant(
        "checkpoint: a step is read under another number",
        "if step is not None and str(step) != where.name:",
        "if step == -1:",
        ("runtime/checkpoint/test_identity.py::test_a_step_under_another_number_is_refused",),
    ),
    Mutant(
        "checkpoint: blocks are not compared with their checksums",
        "    if wrong is not None:",
        "    if wrong == -1:",
        ("runtime/checkpoint/test_identity.py::test_a_part_that_is_not_what_was_saved_is_refused",),
    ),
    Mutant(
        "checkpoint: a newer format is read as if it were known",
        "newer, run, step = number > FORMAT,",
        "newer, run, step = False,",
        ("runtime/checkpoint/test_formats.py",),
    ),
    Mutant(
        "checkpoint: the oldest common step is restored",
        "(*(set(s.steps()) for s in stores)), reverse=True)",
        "(*(set(s.steps()) for s in stores)))",
        ("runtime/checkpoint/test_manager.py",),
    ),
    Mutant(
        "checkpoint: steps after a damaged one stay",
        "                store.delete_after(step)",
        "                pass",
        ("runtime/checkpoint/test_manager.py",),
    ),
    Mutant(
        "checkpoint: an old step goes before the next one is whole",
        "        response.result()\n        self._metrics[step] = metric",
        "        self._metrics[step] = metric",
        ("runtime/checkpoint/test_leftovers.py",),
    ),
    Mutant(
        "retention: step 0 is thrown away",
        "kept = {0, *newest,",
        "kept = {*newest,",
        ("runtime/checkpoint/test_retention.py::test_what_stays_of_a_history",),
    ),
    Mutant(
        "retention: the best is the lowest also where the highest is asked for",
        'sign = -1 if self.best.startswith("max:") else 1',
        "sign = 1",
        ("runtime/checkpoint/test_retention.py::test_what_stays_of_a_history",),
    ),
    Mutant(
        "retention: one step more stays",
        "[-self.last :]",
        "[-self.last - 1 :]",
        ("runtime/checkpoint/test_retention.py::test_what_stays_of_a_history",),
    ),
    Mutant(
        "config: True is taken for a whole number",
        " or (kind is int and isinstance(value, bool)):",
        ":",
        ("runtime/test_config.py",),
    ),
    Mutant(
        "config: the difference is told the wrong way round",
        'lines.append(f"{name}: {a!r} -> {b!r}")',
        'lines.append(f"{name}: {b!r} -> {a!r}")',
        ("runtime/test_config.py",),
    ),
    Mutant(
        "files: JSON is written in its place",
        'temporary = path.with_name(f".{path.name}.tmp")',
        "temporary = path",
        ("runtime/test_workdir.py::test_a_crash_while_a_file_is_written_leaves_the_old_one",),
    ),
    Mutant(
        "files: a directory is not locked",
        "fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        ("runtime/test_workdir.py::test_a_directory_in_use_is_refused",),
    ),
    Mutant(
        "files: half an export is left behind",
        "        shutil.rmtree(temporary, ignore_errors=True)",
        "        pass",
        ("interop/test_export.py::test_a_folder_appears_whole_or_not_at_all",),
    ),
    Mutant(
        "workdir: parents are not compared",
        'return difference(before, now) + difference(a, b, prefix="parents")',
        "return difference(before, now)",
        ("runtime/test_workdir.py::test_parents_are_compared_by_hash_and_not_by_path",),
    ),
    Mutant(
        "workdir: anything in a parent's place is taken for it",
        '(not record.get("file") or file_hash(manifest) == record["sha256"])',
        "True",
        ("runtime/test_workdir.py::test_another_directory_in_the_place_of_a_parent_is_not_taken_for_it",),
    ),
    Mutant(
        "workdir: a directory of other things is taken",
        'if foreign and "config.json" not in foreign',
        'if foreign == 1 and "config.json" not in foreign',
        ("runtime/test_workdir.py::test_a_directory_of_other_things_is_refused_and_left_as_it_was",),
    ),
    Mutant(
        "workdir: a mistake found before any work binds the directory",
        "own.unlink(missing_ok=True)",
        "pass",
        ("activations/sources/test_refusals.py::test_a_mistake_leaves_the_directory_free",),
    ),
    Mutant(
        "logs: a resumed run keeps lines of later steps",
        "is not None and found <= step]",
        "is not None]",
        ("runtime/test_workdir.py::test_rewinding_drops_later_steps",),
    ),
    Mutant(
        "logs: what a full disk did not take is lost",
        "del self.waiting[: self._file.write(self.waiting)]",
        "del self.waiting[: self._file.write(self.waiting) + len(self.waiting)]",
        ("runtime/test_disk_full.py::test_many_lines_wait_for_room_and_none_is_lost",),
    ),
    Mutant(
        "logs: TensorBoard forgets one step too many",
        "self._purge_step = step + 1",
        "self._purge_step = step",
        (
            "runtime/test_metric_writers.py::test_resumes_within_a_second_keep_all_event_files_and_forget_what_is_done_again",
        ),
    ),
    Mutant(
        "logs: NaN is written as such",
        "values = {name: value if math.isfinite(value) else None for",
        "values = {name: value for",
        ("runtime/test_metric_writers.py::test_what_is_not_finite_is_null_in_lines_and_left_out_of_events",),
    ),
    Mutant(
        "logs: a resumed run sends its steps to W&B again",
        "if step > self._sent:",
        "if step > -1:",
        ("runtime/test_metric_writers.py::test_a_resumed_run_is_the_same_one_there_and_sends_no_step_twice",),
    ),
    Mutant(
        "mesh: the axes are swapped",
        'return cls(mesh.shape["data"], mesh.shape["model"])',
        'return cls(mesh.shape["model"], mesh.shape["data"])',
        (
            "sae/test_objective.py::test_gradients_are_of_the_mean_loss_of_scaled_rows_on_any_mesh_in_any_number_of_parts",
        ),
    ),
    Mutant(
        "mesh: sums over devices are missing",
        "return jax.lax.psum(tree, axis) if getattr(self, axis) > 1 else tree",
        "return tree",
        ("sae/ops/test_top_k.py::test_a_batch_has_its_n_largest_positive_numbers_on_any_mesh",),
    ),
    Mutant(
        "mesh: stacked arrays are divided along the wrong axis",
        "PartitionSpec(None, *rules[name]) if stacked else rules[name]",
        "rules[name]",
        ("runtime/test_mesh.py::test_a_stacked_array_has_one_more_axis_before_those_of_its_rule",),
    ),
    Mutant(
        "mesh: a parameter without a rule is replicated",
        '            raise KeyError(f"no sharding rule for',
        '            return NamedSharding(mesh, PartitionSpec())\n            raise KeyError(f"no sharding rule for',
        ("runtime/test_mesh.py::test_a_parameter_without_a_rule_raises",),
    ),
    Mutant(
        "processes: one that says yes is enough",
        'return all(value == "1" for',
        'return any(value == "1" for',
        ("training/test_preemption.py::test_two_processes_agree_where_both_say_yes",),
    ),
    Mutant(
        "processes: a number beyond the last process is taken",
        '_number("MONOSEM_PROCESS_ID", number, 0, n - 1)',
        '_number("MONOSEM_PROCESS_ID", number, 0, n)',
        ("runtime/test_mesh.py::test_variables_that_make_no_sense_are_refused",),
    ),
    Mutant(
        "signals: handlers stay after training",
        "        yield flag\n    finally:\n        for number, handler in old.items():",
        "        yield flag\n    finally:\n        for number, handler in ():",
        ("training/test_loop.py::test_signals_have_their_own_handlers_again_after_training",),
    ),
    Mutant(
        "ambient: options of JAX stay as the user has them",
        "            stack.enter_context(state(value))",
        "            pass",
        ("runtime/test_ambient.py::test_an_option_is_set_inside_and_as_before_afterwards",),
    ),
    Mutant(
        "ambient: what has changed since is not told",
        'return [f"{k}: {before[k]!r} -> {now[k]!r}" for k in before if k in now and before[k] != now[k]]',
        "return []",
        ("runtime/test_ambient.py::test_a_run_that_is_resumed_elsewhere_says_in_what_it_differs",),
    ),
    Mutant(
        "signals: SIGXCPU ends the process",
        "signal.SIGUSR2, signal.SIGXCPU)",
        "signal.SIGUSR2)",
        ("runtime/test_signals.py::test_all_signals_that_give_notice_are_known",),
    ),
    Mutant(
        "text: equal texts lie on both sides of the split",
        "            heldout[texts[text]] = True",
        "            heldout[texts[text][0]] = True",
        ("text/test_corpus.py::test_equal_texts_lie_on_one_side_of_the_split",),
    ),
    Mutant(
        "text: another corpus passes for the one that was prepared",
        "return before is not None and (corpus == before or not pathlib.Path(before).exists())",
        "return True",
        ("text/test_pack.py::test_a_corpus_is_known_by_its_content_wherever_it_lies",),
    ),
    Mutant(
        "arguments: the first token beyond the vocabulary is taken",
        "            if not 0 <= token < vocab_size:",
        "            if not 0 <= token <= vocab_size:",
        ("test_python_surface.py",),
    ),
    Mutant(
        "zarr: chunks that do not exist are read as zeros",
        "            return sum(z - a for a, z in cuts if not self._stored(a, z))",
        "            return 0",
        ("activations/sources/test_left_out.py::test_rows_in_chunks_that_do_not_exist_are_refused_and_counted",),
    ),
    Mutant(
        "signals: a second Ctrl-C is not obeyed",
        "if flag.requested and number == signal.SIGINT:",
        "if flag.requested and number == 0:",
        ("runtime/test_signals.py",),
    ),
    Mutant(
        "watchdog: silence is never noticed",
        "silent = now - peer.heard > self._bound",
        "silent = False",
        ("runtime/test_watchdog.py::test_a_peer_that_is_silent_is_named_and_one_that_says_it_is_there_is_not",),
    ),
    Mutant(
        "watchdog: a stranger without the secret is let in",
        "secrets.compare_digest(token, self._token) and number.isdecimal()",
        "number.isdecimal()",
        ("runtime/test_watchdog.py::test_a_stranger_does_not_stand_for_a_process_that_is_to_come",),
    ),
    Mutant(
        "watchdog: who said bye counts as lost",
        'elif word == "bye":',
        'elif word == "good-bye":',
        ("runtime/test_watchdog.py::test_a_peer_that_said_bye_may_go_and_the_others_are_still_watched",),
    ),
    Mutant(
        "step: a gradient that is not finite is applied",
        "applied = finite & ~frozen",
        "applied = ~frozen",
        ("training/test_guard.py::test_a_step_whose_loss_or_gradient_is_not_finite_is_not_applied",),
    ),
    Mutant(
        "step: bad steps are counted although good ones lie between",
        'jnp.where(finite, 0, guard["in_a_row"] + 1)',
        'guard["in_a_row"] + ~finite',
        ("training/test_guard.py::test_steps_that_are_not_finite_but_fewer_in_a_row_change_nothing",),
    ),
    Mutant(
        "step: training stops one bad step late",
        "now = (in_a_row >= config.stop_after)",
        "now = (in_a_row > config.stop_after)",
        ("training/test_guard.py::test_so_many_steps_in_a_row_freeze_and_what_comes_after_is_not_applied",),
    ),
    Mutant(
        "step: the first step counts as a spike",
        "applied &= (loss <= most) | (level == 0)",
        "applied &= loss <= most",
        ("training/test_guard.py::test_a_step_whose_loss_is_a_spike_is_not_applied",),
    ),
    Mutant(
        "step: the schedule goes on in steps that are not applied",
        "lambda new, old: new if new.ndim else keep(new, old)",
        "lambda new, old: new",
        ("training/test_optimizer.py::test_steps_that_are_not_applied_do_not_count_for_the_schedule",),
    ),
    Mutant(
        "step: metrics of steps that are not applied count",
        "return jax.tree.map(lambda number: jnp.where(applied, number, 0), metrics)",
        "return metrics",
        ("training/test_guard.py::test_steps_that_were_not_applied_are_counted_where_they_are_logged",),
    ),
    Mutant(
        "optimizer: a step that is not applied leaves its moments",
        "return jnp.where(applied, decay * old + (1 - decay) * g, old)",
        "return decay * old + (1 - decay) * g",
        ("training/test_guard.py::test_a_poisoned_batch_leaves_no_trace_but_its_count",),
    ),
    Mutant(
        "optimizer: the bias corrections are swapped",
        "c1, c2 = 1 - b1**count, 1 - b2**count",
        "c2, c1 = 1 - b1**count, 1 - b2**count",
        ("training/test_optimizer.py::test_updates_are_those_of_adam",),
    ),
    Mutant(
        "optimizer: vectors decay too",
        "jax.tree.map(lambda p: p.ndim > 1, params)",
        "jax.tree.map(lambda p: True, params)",
        ("training/test_optimizer.py::test_weight_decay_is_apart_from_adam_and_for_matrices_alone",),
    ),
    Mutant(
        "optimizer: gradients are not clipped",
        "if own.clip_norm:",
        "if own.clip_norm == -1:",
        ("training/test_optimizer.py::test_gradients_are_clipped_by_their_norm_before_adam",),
    ),
    Mutant(
        "optimizer: the decay begins one step late",
        "optax.join_schedules([rise, fall], [begin])",
        "optax.join_schedules([rise, fall], [begin + 1])",
        ("training/test_optimizer.py::test_a_linear_schedule_falls_over_the_last_fraction_of_the_steps_alone",),
    ),
    Mutant(
        "ensemble: every member is the first",
        "jax.tree.map(lambda x: x[i], state.replace(step=None))",
        "jax.tree.map(lambda x: x[0], state.replace(step=None))",
        ("training/test_ensemble.py::test_a_member_of_a_group_is_found_by_its_number",),
    ),
    Mutant(
        "ensemble: members log the first one's metrics",
        "member_metrics(host.metrics, i)",
        "member_metrics(host.metrics, 0)",
        (
            "training/test_ensemble.py::test_each_member_is_what_it_would_be_alone",
            "training/test_stacked.py::test_each_member_logs_what_it_logs_alone",
        ),
    ),
    Mutant(
        "ensemble: the old state is not given over",
        "jax.jit(dispatch, donate_argnums=0, out_shardings=outputs)",
        "jax.jit(dispatch, out_shardings=outputs)",
        ("training/test_step.py::test_a_dispatch_keeps_the_layout_takes_the_memory_over_and_is_compiled_once",),
    ),
    Mutant(
        "loop: a transform at the step of a resume is left out",
        "[t for t in transforms if step in t.steps]",
        "[t for t in transforms if step in t.steps and step > first]",
        ("training/test_loop.py::test_a_transform_is_done_once_at_its_step_wherever_the_run_was_stopped",),
    ),
    Mutant(
        "loop: reports are called before the first step",
        "                if step > first:",
        "                if step >= first:",
        ("training/test_loop.py::test_reports_are_called_at_the_multiples_after_the_first_step",),
    ),
    Mutant(
        "loop: dispatches run over the steps of reports",
        "ends += [(step // n + 1) * n for n in",
        "ends += [(step // n + 2) * n for n in",
        (
            "training/test_loop.py::test_reports_are_called_at_the_multiples_after_the_first_step",
            "training/test_loop.py::test_dispatches_follow_each_other_and_none_is_longer_than_configured",
        ),
    ),
    Mutant(
        "loop: a batch is trained on twice",
        "ahead = prefetcher.submit(batches, step + n,",
        "ahead = prefetcher.submit(batches, step,",
        ("training/test_loop.py::test_ten_steps_and_ten_more_in_another_process_equal_twenty",),
    ),
    Mutant(
        "metrics: sums are logged instead of means",
        "return self.total / self.count if self.count else math.nan",
        "return self.total if self.count else math.nan",
        ("training/test_metric_log.py::test_a_line_has_the_means_the_sums_and_the_last_values_of_all_that_was_taken",),
    ),
    Mutant(
        "metrics: an unfinished line of another step is taken up",
        'if saved.get("step") == step:',
        "if saved:",
        ("training/test_metric_log.py::test_an_unfinished_line_of_another_step_is_not_taken_up",),
    ),
    Mutant(
        "preemption: the signal of another process is not heard",
        "self._heard = number",
        "self._heard = 0",
        ("training/test_preemption.py::test_the_signal_of_another_is_a_request_too",),
    ),
    Mutant(
        "batches: contexts come in their order on disk",
        ".shuffle(seed=mixed)",
        "",
        ("text/test_batches.py::test_no_order_is_that_of_the_disk",),
    ),
    Mutant(
        "batches: batches of a block overlap",
        "self._order[(start + i) * shape[1] + j]",
        "self._order[start * shape[1] + i + j]",
        ("text/test_batches.py",),
    ),
    Mutant(
        "batches: what fills up the last batch counts",
        "weight = (np.arange(c, c + batch) < len(tokens)).astype(np.float32)",
        "weight = np.ones(batch, np.float32)",
        ("analysis/test_metrics.py::test_metrics_do_not_depend_on_the_batch",),
    ),
    Mutant(
        "bigram: another discount",
        "discount = once / (once + 2 * twice)",
        "discount = once / (once + twice)",
        ("text/test_bigram.py",),
    ),
    Mutant(
        "corpus: the label 0 is lost",
        'label = "" if label is None else str(label)',
        'label = str(label or "")',
        ("text/test_corpus.py::test_a_label_that_is_the_number_zero_is_kept",),
    ),
    Mutant(
        "corpus: the hash does not know where texts end",
        'h.update(len(data).to_bytes(8, "little") + data)',
        "h.update(data)",
        ("text/test_corpus.py::test_the_hash_changes_with_text_label_order_and_boundaries",),
    ),
    Mutant(
        "pack: BOS stands after documents",
        "pieces.append(np.asarray([bos, *e.ids], dtype))",
        "pieces.append(np.asarray([*e.ids, bos], dtype))",
        ("text/test_pack.py",),
    ),
    Mutant(
        "pack: the tokenizer is trained on held-out text too",
        "texts = [d.text for d, h in zip(documents, heldout, strict=True) if not h]",
        "texts = [d.text for d in documents]",
        ("text/test_pack.py::test_the_tokenizer_is_trained_on_the_training_split_only",),
    ),
    Mutant(
        "pack: two bytes for a token that needs more",
        "<= 1 << 16 else np.uint32",
        "<= 1 << 17 else np.uint32",
        ("text/test_pack.py::test_tokens_take_two_bytes_as_long_as_the_vocabulary_allows",),
    ),
    Mutant(
        "tokenizer: the letters of BOS in a text become BOS",
        "tokenizer.encode_special_tokens = True",
        "tokenizer.encode_special_tokens = False",
        ("text/test_tokenizer.py",),
    ),
    Mutant(
        "tokenizer: long texts are cut",
        "tokenizer.no_truncation()",
        "pass",
        ("text/test_tokenizer.py::test_a_loaded_tokenizer_does_not_cut_long_texts",),
    ),
    Mutant(
        "transformer: attention sees later tokens",
        "causal = jnp.tril(jnp.ones((length, length), bool))",
        "causal = jnp.ones((length, length), bool)",
        ("models/test_transformer.py::test_no_loss_changes_with_later_tokens",),
    ),
    Mutant(
        "transformer: rotary positions turn the wrong way",
        "[a * cos - b * sin, a * sin + b * cos]",
        "[a * cos + b * sin, a * sin + b * cos]",
        ("models/test_transformer.py::test_rotary_positions_keep_the_norm",),
    ),
    Mutant(
        "transformer: scores are not scaled by the root of the width",
        "* q.shape[-1] ** -0.5",
        "* q.shape[-1] ** -1.0",
        ("models/test_transformer.py::test_logits_equal_a_transformer_in_numpy",),
    ),
    Mutant(
        "transformer: every token is predicted from itself",
        "tokens[:, 1:, None], axis=-1)",
        "tokens[:, :-1, None], axis=-1)",
        ("models/test_transformer.py::test_token_losses_equal_the_reference",),
    ),
    Mutant(
        "transformer: the second half begins a station late",
        "_, resid = self._run(carry, acts, self._station(site),",
        "_, resid = self._run(carry, acts, self._station(site) + 1,",
        ("models/test_transformer.py::test_the_halves_composed_are_the_model_bit_for_bit",),
    ),
    Mutant(
        "transformer: several sites come in the order of the model",
        "[found[station] for station in stations]",
        "[found[station] for station in sorted(stations)]",
        ("activations/sources/test_sites.py::test_several_sites_of_a_model_are_those_of_each",),
    ),
    Mutant(
        "store: rows that are not committed are visible",
        'int = self.manifest["rows_written"]',
        'int = self.manifest["n_rows"]',
        ("activations/store/test_writer.py::test_a_reader_sees_exactly_the_committed_rows",),
    ),
    Mutant(
        "store: missing data are zeros",
        '"fill_missing_data_reads": False,',
        '"fill_missing_data_reads": True,',
        ("activations/store/test_store.py::test_what_nobody_wrote_is_an_error_and_not_zeros",),
    ),
    Mutant(
        "store: blocks have no checksum",
        ', {"name": "crc32c"}]',
        "]",
        ("activations/store/test_verify.py::test_a_flipped_bit_in_a_shard_is_reported_with_the_rows_that_it_costs",),
    ),
    Mutant(
        "store: a bucket is recorded before it is on disk",
        "                w.result()\n",
        "                pass\n",
        ("activations/store/test_writer.py::test_nothing_is_recorded_before_it_is_on_disk",),
    ),
    Mutant(
        "store: every process commits",
        "        if self.process[0]:\n            return\n        manifest = self.manifest",
        "        manifest = self.manifest",
        ("activations/store/test_writer.py::test_another_process_does_not_commit_what_the_first_has_made",),
    ),
    Mutant(
        "store: the mean norm is that of the last bucket",
        '(manifest["mean_norm"] * start + record["norm_sum"]) / (start + n)',
        'record["norm_sum"] / n',
        ("activations/test_harvest.py::test_mean_norm_and_mean_square_are_those_of_the_rows",),
    ),
    Mutant(
        "store: buckets on disk are made again",
        " and self._record(g) is None:",
        ":",
        ("activations/store/test_writer_deaths.py::test_other_processes_go_on_with_what_some_have_left",),
    ),
    Mutant(
        "verify: a place recorded twice in two blocks is not seen",
        "if again.any() or len(np.unique(at)) < len(at):",
        "if len(np.unique(at)) < len(at):",
        ("activations/store/test_verify_contents.py",),
    ),
    Mutant(
        "verify: the manifest is not compared with its checksum",
        'if manifest.get("checksum", checksum(manifest)) != checksum(manifest):',
        'if manifest.get("checksum", "") == 0:',
        ("activations/store/test_verify_contents.py::test_a_manifest_that_is_not_as_it_was_written_is_reported",),
    ),
    Mutant(
        "foreign: pickles are opened",
        'np.lib.format.open_memmap(path, mode="r")  # unlike np.load, reads nothing but .npy',
        "np.load(path, allow_pickle=True)",
        ("activations/store/test_foreign.py::test_a_pickled_array_is_refused_and_not_executed",),
    ),
    Mutant(
        "foreign: the identity does not look at the last row",
        "for i in (0, rows.n_rows - 1):",
        "for i in (0,):",
        ("activations/store/test_foreign.py",),
    ),
    Mutant(
        "foreign: infinities count as finite",
        "finite = np.isfinite(squares)",
        "finite = ~np.isnan(squares)",
        ("activations/store/test_foreign_scan.py",),
    ),
    Mutant(
        "rows: a range reads beyond its end",
        "self._source.read(self._start + start, self._start + min(stop, self.n_rows))",
        "self._source.read(self._start + start, self._start + stop)",
        ("activations/store/test_store.py::test_a_range_is_the_rows_between_its_bounds_and_no_more",),
    ),
    Mutant(
        "order: lanes drop what does not divide",
        "return (epoch * self.n_rows + lane) // self.lanes",
        "return epoch * (self.n_rows // self.lanes)",
        ("activations/stream/test_order.py::test_every_row_comes_once_per_epoch",),
    ),
    Mutant(
        "order: the short block is taken for the one before",
        "(missing if k > short else 0)",
        "(missing if k >= short else 0)",
        ("activations/stream/test_order.py::test_every_row_comes_once_per_epoch",),
    ),
    Mutant(
        "order: rows of a window are not mixed",
        ".permutation(high - low)",
        ".permutation(high - low) * 0 + where",
        ("activations/stream/test_order.py::test_batches_are_those_of_the_definition",),
    ),
    Mutant(
        "stream: without shuffling it ends after one pass",
        "row = (start + low) % self.source.n_rows",
        "row = start + low",
        ("activations/stream/test_stream.py::test_without_shuffling_rows_come_as_they_lie_again_and_again",),
    ),
    Mutant(
        "stream: memory is used again while it is looked at",
        "weakref.finalize(lease, self._free_again, lease.raw)",
        "self._free_again(lease.raw)",
        ("activations/store/test_memory.py",),
    ),
    Mutant(
        "device cache: the oldest block goes, however often it was used",
        "self._slots[block] = self._slots.pop(block)",
        "pass",
        ("activations/stream/test_device_cache.py::test_the_least_recently_used_blocks_make_room",),
    ),
    Mutant(
        "harvest: rows are not permuted",
        "at = where[first - start : first - start + len(values)]",
        "at = np.arange(first - start, first - start + len(values))",
        ("activations/test_harvest.py::test_rows_of_one_context_lie_all_over_their_bucket",),
    ),
    Mutant(
        "harvest: rows that are not finite are stored",
        "bad = np.flatnonzero(~np.isfinite(squares[where]))",
        "bad = ()",
        (
            "activations/test_harvest_refusals.py::test_rows_that_are_not_finite_are_refused_with_their_count_and_the_first_of_them",
        ),
    ),
    Mutant(
        "harvest: a disk of half the size will do",
        "    if more > free:",
        "    if more > 2 * free:",
        (
            "activations/test_harvest_refusals.py::test_a_disk_that_is_too_small_is_refused_with_both_figures_before_anything_is_written",
        ),
    ),
    Mutant(
        "producers: activations of the token before",
        "jnp.take_along_axis(acts, positions[..., None], axis=1).astype(dtype)",
        "jnp.take_along_axis(acts, positions[..., None] - 1, axis=1).astype(dtype)",
        ("activations/test_producers.py::test_rows_are_the_activations_at_their_recorded_places",),
    ),
    Mutant(
        "producers: the row after one left out is left out",
        'np.searchsorted(self._before, kept, side="right")',
        'np.searchsorted(self._before, kept, side="left")',
        ("activations/test_producers.py::test_kept_rows_are_what_boolean_indexing_leaves",),
    ),
    Mutant(
        "sampling: BOS is drawn",
        "eligible = self.tokens(which) != self._bos",
        "eligible = self.tokens(which) >= 0",
        ("activations/test_sampling.py::test_positions_are_drawn_without_replacement_and_never_bos",),
    ),
    Mutant(
        "sampling: a context with just enough tokens is left out",
        "!= bos).sum(axis=1) >= k)",
        "!= bos).sum(axis=1) > k)",
        ("activations/test_sampling.py::test_a_context_is_usable_with_k_tokens_besides_bos_and_not_with_fewer",),
    ),
    Mutant(
        "online: lanes share their contexts",
        "((filling * self._lanes + lanes)[:, None] * n",
        "((filling * self._lanes + 0 * lanes)[:, None] * n",
        ("activations/test_online.py::test_a_filling_is_the_next_contexts_of_the_text_and_each_lane_has_its_own",),
    ),
    Mutant(
        "online: batches of a filling overlap",
        "first * self._lane_slots, n * self._lane_slots, axis=1)",
        "first, n * self._lane_slots, axis=1)",
        ("activations/test_online.py::test_batches_of_several_rows_a_lane_do_not_overlap",),
    ),
    Mutant(
        "scale: unit_rms and unit_norm are swapped",
        'float(mean_square**-0.5 if kind == "unit_rms" else',
        'float(mean_square**-0.5 if kind != "unit_rms" else',
        ("activations/sources/test_refusals.py::test_the_input_scale_is_that_of_the_store_where_it_is_known",),
    ),
    Mutant(
        "synthetic: features are active when they should not be",
        "inv_cdf(1 - p)",
        "inv_cdf(p)",
        ("activations/test_synthetic.py::test_features_are_active_as_often_as_they_are_said_to_be",),
    ),
    Mutant(
        "synthetic: another correlation",
        "c.correlation**0.5 * shared",
        "c.correlation * shared",
        ("activations/test_synthetic.py::test_features_of_a_group_occur_together_and_others_do_not",),
    ),
    Mutant(
        "synthetic: recovery is of the found and not of the true features",
        "_unit(found).T, axis=1)",
        "_unit(found).T, axis=0)",
        ("activations/test_synthetic.py::test_recovery_is_the_largest_cosine_of_each_true_feature",),
    ),
    Mutant(
        "sources: stores of other tokens are put beside each other",
        "if a.manifest.get(key) != b.manifest.get(key):",
        "if a.manifest.get(key) == 0.5:",
        ("activations/sources/test_sites.py::test_rows_that_do_not_belong_together_are_refused",),
    ),
    Mutant(
        "sources: rows kept for evaluation are trained on",
        "return rows if heldout is None else RowRange(rows, 0, rows.n_rows - heldout.n_rows)",
        "return rows",
        ("activations/sources/test_refusals.py::test_the_last_tenth_of_an_array_is_kept_from_training",),
    ),
    Mutant(
        "relu: the L1 has no gradient",
        "matmul(d_out, w_dec.T) + l1_coefficient, 0)",
        "matmul(d_out, w_dec.T), 0)",
        ("sae/test_gradients.py::test_gradients_and_terms_are_sums_over_the_rows",),
    ),
    Mutant(
        "relu: b_dec has no gradient through the encoder",
        "b_dec = jnp.sum(error, axis=0) * (2 / width) - through",
        "b_dec = jnp.sum(error, axis=0) * (2 / width)",
        ("sae/test_gradients.py::test_gradients_and_terms_are_sums_over_the_rows",),
    ),
    Mutant(
        "relu: reconstructions are not summed over model",
        'part, l1 = axes.sum((part, l1), "model")',
        'l1 = axes.sum(l1, "model")',
        (
            "sae/test_objective.py::test_gradients_are_of_the_mean_loss_of_scaled_rows_on_any_mesh_in_any_number_of_parts",
        ),
    ),
    Mutant(
        "gradients: reconstructions are not summed over model",
        'sums = ctx.axes.sum(sums, "model")',
        "sums = dict(sums)",
        ("sae/test_family_meshes.py::test_three_steps_are_the_same_on_any_mesh",),
    ),
    Mutant(
        "gradients: b_dec's part through the encoder is that of one device",
        '- ctx.axes.sum(through, "model")',
        "- through",
        ("sae/test_family_meshes.py::test_three_steps_are_the_same_on_any_mesh",),
    ),
    Mutant(
        "objective: gradients are not summed over data",
        'grads, terms = axes.sum(tuple(sums), "data")',
        "grads, terms = tuple(sums)",
        (
            "sae/test_objective.py::test_gradients_are_of_the_mean_loss_of_scaled_rows_on_any_mesh_in_any_number_of_parts",
        ),
    ),
    Mutant(
        "objective: the warm-up begins at zero",
        "jnp.minimum((state.step + 1) / l1_warmup, 1)",
        "jnp.minimum(state.step / l1_warmup, 1)",
        ("sae/test_objective.py::test_the_l1_coefficient_rises_from_the_first_step_to_the_last_of_its_warm_up",),
    ),
    Mutant(
        "objective: the last part of a batch is left out",
        "jax.lax.scan(add, tuple(sums), parts[1:])",
        "jax.lax.scan(add, tuple(sums), parts[1:-1])",
        (
            "sae/test_objective.py::test_gradients_are_of_the_mean_loss_of_scaled_rows_on_any_mesh_in_any_number_of_parts",
        ),
    ),
    Mutant(
        "constraints: gradients along dictionary vectors stay",
        "DICTIONARY: g - along * d}",
        "DICTIONARY: g}",
        ("sae/test_constraints.py::test_projection_equals_the_formula",),
    ),
    Mutant(
        "constraints: dictionary vectors grow",
        "unit_rows(d + updates[DICTIONARY]) - d",
        "updates[DICTIONARY]",
        ("sae/test_constraints.py::test_dictionary_vectors_have_unit_norm_after_fifty_steps",),
    ),
    Mutant(
        "top_k: one too many",
        "values, at = top_k(z, min(k, z.shape[1]))",
        "values, at = top_k(z, min(k + 1, z.shape[1]))",
        ("sae/ops/test_top_k.py::test_a_row_has_its_k_largest_positive_numbers_on_any_mesh",),
    ),
    Mutant(
        "top_k: every device takes itself for the first",
        'chosen = chosen - jax.lax.axis_index("model") * mine',
        "chosen = chosen - 0 * mine",
        ("sae/ops/test_top_k.py::test_a_row_has_its_k_largest_positive_numbers_on_any_mesh",),
    ),
    Mutant(
        "top_k: numbers that are not positive are active",
        "return at, kept & (values > 0)",
        "return at, kept",
        ("sae/ops/test_top_k.py::test_a_row_has_its_k_largest_positive_numbers_on_any_mesh",),
    ),
    Mutant(
        "batch_topk: ties beyond n are dropped",
        "enough = found >= n",
        "enough = found > n",
        ("sae/ops/test_top_k.py",),
    ),
    Mutant(
        "batchtopk: the threshold is that of the last batch",
        "decay * old + (1 - decay) * least, old)",
        "least, old)",
        ("sae/test_family.py::test_the_threshold_is_a_mean_over_more_and_more_steps",),
    ),
    Mutant(
        "auxk: dead latents are pushed away from the error",
        "e = -jax.lax.stop_gradient(error)",
        "e = jax.lax.stop_gradient(error)",
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "auxk: its gradient reaches living latents",
        "e = -jax.lax.stop_gradient(error)",
        "e = -error",
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "auxk: a latent is dead one step late",
        ">= -(-self.dead_rows // ctx.n_rows)",
        "> -(-self.dead_rows // ctx.n_rows)",
        ("sae/test_family.py",),
    ),
    Mutant(
        "jumprelu: the threshold's gradient has the wrong sign",
        "jnp.sum(-_kernel(*kept) * d, axis=0)",
        "jnp.sum(_kernel(*kept) * d, axis=0)",
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "jumprelu: the kernel is twice as wide",
        "(jnp.abs(z - theta) < bandwidth / 2) / bandwidth",
        "(jnp.abs(z - theta) < bandwidth) / bandwidth",
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "gated: the auxiliary error trains the decoder",
        'frozen = jax.lax.stop_gradient(p["W_dec"])',
        'frozen = p["W_dec"]',
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "gated: the gate is always open",
        'jnp.where(h + p["b_gate"] > 0, nn.relu(',
        "jnp.where(h == h, nn.relu(",
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "matryoshka: the empty prefix is left out",
        '[jnp.zeros_like(sums["y_hat"][:1]), jnp.cumsum(sums["y_hat"], axis=0)]',
        '[jnp.cumsum(sums["y_hat"], axis=0)]',
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "crosscoder: a feature's norm is the largest and not the sum",
        "return jnp.sum(jnp.stack(norms, axis=-1), axis=-1)",
        "return jnp.max(jnp.stack(norms, axis=-1), axis=-1)",
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "transcoder: the skip is forgotten in training",
        'through: Any = product(ctx.matmul.dtype, x, shared["W_skip"])',
        'through: Any = 0 * product(ctx.matmul.dtype, x, shared["W_skip"])',
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "transcoder: scales are folded in upside down",
        "return unscale(params, scale[0], scale[1])",
        "return unscale(params, scale[1], scale[0])",
        ("sae/test_family_published.py::test_raw_rows_are_reconstructed_as_scaled_ones_are_in_training",),
    ),
    Mutant(
        "topk: Multi-TopK takes k features",
        "WithMoreFeatures(error, MULTI * self.k, self.multi)",
        "WithMoreFeatures(error, self.k, self.multi)",
        ("sae/test_family.py::test_a_step_finds_out_what_the_formulas_say",),
    ),
    Mutant(
        "resample: moments stay",
        "return put(name, leaf, 0.0) if name in FEATURE_AXIS else leaf",
        "return leaf",
        ("sae/test_resample.py::test_adam_moments_of_dead_features_are_zeroed",),
    ),
    Mutant(
        "resample: new encoder vectors are five times too large",
        "direction.T * (ENCODER_SCALE * mean)",
        "direction.T * mean",
        ("sae/test_resample.py::test_an_event_equals_the_reference",),
    ),
    Mutant(
        "resample: inputs are drawn by the loss and not its square",
        "weights = jnp.square(losses)",
        "weights = losses",
        ("sae/test_resample.py::test_weights_are_the_squared_losses_and_zero_for_inputs_of_zero",),
    ),
    Mutant(
        "resample: every device looks among the first rows",
        'slot = slot - jax.lax.axis_index("data") * b',
        "slot = slot - 0 * b",
        ("sae/test_resample.py", "sae/test_meshes.py::test_a_dictionary_alone_is_the_same_on_any_mesh"),
    ),
    Mutant(
        "resample: a slice is drawn at its end",
        "u = (slot + jax.random.uniform(key)) / n_dead",
        "u = (slot + 1) / n_dead",
        ("sae/test_resample_draws.py",),
    ),
    Mutant(
        "resample: what was given up is changed",
        ' & (state.guard["frozen_at"] < 0)',
        "",
        ("training/test_stacked.py::test_an_absurd_member_is_given_up_and_stays_as_it_began_also_through_an_event",),
    ),
    Mutant(
        "sparse_matmul: what fills up a piece has a gradient",
        "d_pre = jnp.where(c.real[p], w_dec[i] @ d_out[b] + d_l1, 0)",
        "d_pre = w_dec[i] @ d_out[b] + d_l1",
        ("sae/ops/test_sparse_matmul.py::test_products_with_codes_are_those_with_whole_arrays",),
    ),
    Mutant(
        "gathered_matmul: gradients of AuxK stand for all",
        "rows.decode_backward(f[name], w, i, d_out[name], d_w)",
        "rows.decode_backward(f[name], w, i, d_out[name], jnp.zeros_like(w))",
        ("sae/test_family_sparse.py::test_of_topk_the_chosen_are_gathered_to_the_same_end",),
    ),
    Mutant(
        "geometric_median: it is the mean",
        "w = 1.0 / jnp.maximum(d,",
        "w = 1.0 + 0 * jnp.maximum(d,",
        ("sae/ops/test_geometric_median.py::test_median_equals_the_reference",),
    ),
    Mutant(
        "params: a zero row has no finite gradient",
        "return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)",
        "return jnp.sqrt(squares)",
        ("sae/test_family.py::test_a_vector_of_zeros_has_a_gradient",),
    ),
    Mutant(
        "cost_model: every device of a ring sends all parts",
        "(self.devices - 1) * (2 * self.bytes",
        "self.devices * (2 * self.bytes",
        ("sae/test_cost_model.py::test_traffic_is_that_of_rings",),
    ),
    Mutant(
        "cost_model: of equal meshes the one with less data",
        "batch_size), -mesh[0]))",
        "batch_size), mesh[0]))",
        ("sae/test_cost_model.py::test_of_equal_meshes_the_one_with_more_data_is_chosen",),
    ),
    Mutant(
        "cost_table: TFLOP/s are taken for GFLOP/s",
        "(self.mfu * peak * 1e12)",
        "(self.mfu * peak * 1e9)",
        ("sae/test_cost_table.py::test_time_from_an_mfu_is_that_of_the_flops_of_every_device",),
    ),
    Mutant(
        "metrics: activations on BOS are replaced",
        "tapped.losses_with(here, jnp.where(real, replacement, x), tokens, site)",
        "tapped.losses_with(here, replacement, tokens, site)",
        ("analysis/test_metrics.py::test_bos_positions_are_not_replaced",),
    ),
    Mutant(
        "metrics: the share that is lost is called recovered",
        '(ablated - ce["ce_reconstructed"]) / gap',
        '(ce["ce_reconstructed"] - ce["ce_intact"]) / gap',
        ("analysis/test_metrics.py::test_every_metric_and_density_equals_the_reference",),
    ),
    Mutant(
        "metrics: ultralow features count as dead",
        '"dead": int(np.sum(density == 0))',
        '"dead": int(np.sum(density < ULTRALOW_DENSITY))',
        ("analysis/test_metrics.py::test_ultralow_features_fired_on_less_than_a_millionth_but_are_not_dead",),
    ),
    Mutant(
        "metrics: what fills up a batch has an error",
        '"squared_error": jnp.sum(jnp.square(y - y_hat) * each)',
        '"squared_error": jnp.sum(jnp.square(y - y_hat))',
        ("analysis/test_metrics.py::test_metrics_do_not_depend_on_the_batch",),
    ),
    Mutant(
        "categories: the best neuron is chosen on the text it is measured on",
        "neuron = int(np.argmax(neurons.training.label_correlation[i]))",
        "neuron = int(np.argmax(neurons.heldout.label_correlation[i]))",
        ("analysis/test_subjects.py::test_the_best_are_chosen_on_one_text_and_measured_on_the_other",),
    ),
    Mutant(
        "logit_weights: the mean over the stream stays",
        "d = d - d.mean(axis=-1, keepdims=True)",
        "d = d - 0",
        ("analysis/test_direct_effect.py::test_logit_weights_equal_the_definition",),
    ),
    Mutant(
        "examples: windows end before their strongest token",
        "min(position + after + 1, self.tokens.shape[1])",
        "min(position, self.tokens.shape[1])",
        ("analysis/test_collect.py::test_examples_show_the_activations_of_their_windows",),
    ),
    Mutant(
        "windows: activations on BOS are shown",
        "jnp.where(real, f[rows[:, None], at, columns[:, None]], 0)",
        "f[rows[:, None], at, columns[:, None]]",
        ("analysis/test_windows.py",),
    ),
    Mutant(
        "windows: contexts are numbered in the text, not in their batch",
        "row = np.searchsorted(chosen, context[pairs])",
        "row = context[pairs] % batch",
        ("analysis/test_windows.py",),
    ),
    Mutant(
        "records: a chunk begins with every feature",
        "record.feature // CHUNK != self._chunk[0].feature // CHUNK",
        "record.feature != self._chunk[0].feature",
        ("analysis/test_records.py::test_a_chunk_holds_neighbouring_features_and_fits_the_schema",),
    ),
    Mutant(
        "saelens: W_skip is not transposed",
        'tensors["W_skip"], name = tensors["W_skip"].T,',
        'tensors["W_skip"], name = tensors["W_skip"],',
        ("interop/test_architectures.py::test_a_transcoder_for_saelens",),
    ),
    Mutant(
        "saelens: a bias that is not taken from the input is subtracted twice",
        'return {"b_enc": rounded(p["b_enc"] + moved)}',
        'return {"b_enc": rounded(p["b_enc"] - moved)}',
        ("interop/test_import.py::test_a_bias_that_is_not_taken_from_the_input_is_folded",),
    ),
    Mutant(
        "saelens: natural logarithms of densities",
        "sparsity = np.log10(",
        "sparsity = np.log(",
        (
            "interop/test_export.py::test_how_often_features_fire_is_written_for_the_last_step_of_a_finished_run_only",
            "interop/test_export.py::test_a_feature_that_never_fired_has_the_lowest_sparsity_that_saelens_writes",
        ),
    ),
    Mutant(
        "dictionary_learning: matrices are not transposed",
        '{"encoder.weight": p["W_enc"].T, "decoder.weight": p["W_dec"].T}',
        '{"encoder.weight": p["W_enc"], "decoder.weight": p["W_dec"]}',
        ("interop/test_export.py::test_features_and_reconstructions_are_those_of_the_run_for_raw_activations",),
    ),
    Mutant(
        "dictionary_learning: sizes of prefixes stand for those of groups",
        "np.diff(dictionary.prefixes, prepend=0)",
        "np.asarray(dictionary.prefixes)",
        ("interop/test_architectures.py::test_for_dictionary_learning",),
    ),
    Mutant(
        "exported: b_dec is folded in with the wrong sign",
        'p["b_enc"] - np.einsum("M,MF->F"',
        'p["b_enc"] + np.einsum("M,MF->F"',
        ("interop/test_architectures.py::test_for_dictionary_learning",),
    ),
    Mutant(
        "exported: weights that are not finite are exported",
        "bad = values.size - np.count_nonzero(np.isfinite(values))",
        "bad = 0",
        ("interop/test_export.py::test_weights_that_are_not_finite_are_refused",),
    ),
    Mutant(
        "exported: the oldest step stands for the newest",
        "chosen = steps[-1] if step < 0 else step",
        "chosen = steps[0] if step < 0 else step",
        ("interop/test_export.py::test_the_newest_or_the_given_step_is_written",),
    ),
    Mutant(
        "torch_pickle: strides are reversed",
        "strides = sizes[-2::-1]",
        "strides = sizes[:-1]",
        ("interop/test_export.py::test_features_and_reconstructions_are_those_of_the_run_for_raw_activations",),
    ),
    Mutant(
        "plain: every dictionary is said to be centred",
        '"centred": dictionary.centred,',
        '"centred": True,',
        ("interop/test_architectures.py::test_a_plain_folder_says_all_that_is_needed_to_use_it",),
    ),
    Mutant(
        "tensors: a tensor of another shape is taken",
        "if name in found and found[name].shape != shape:",
        "if name in found and found[name].shape == 0:",
        ("interop/test_import.py::test_weights_that_are_not_ours_are_refused",),
    ),
    Mutant(
        "load: a step that is not there is opened",
        "if step is not None and step not in run.steps",
        "if step == -1 and step not in run.steps",
        ("test_load.py::test_a_step_that_is_not_there_is_refused",),
    ),
    Mutant(
        "report: text is not escaped",
        "autoescape=True,",
        "autoescape=False,",
        ("report/test_page.py::test_hostile_text_stays_text",),
    ),
    Mutant(
        "report: hidden characters stay hidden where a template prints them",
        "finalize=_visible,",
        "",
        ("report/test_page.py::test_whatever_a_template_prints_is_escaped_and_made_visible",),
    ),
    Mutant(
        "report: the page may load anything",
        "\"default-src 'none'; style-src",
        '"default-src *; style-src',
        ("report/test_page.py::test_the_policy_forbids_everything_but_inline_style",),
    ),
    Mutant(
        "report: categories in which the neuron is better are counted",
        "better = sum(c.feature_correlation > c.neuron_correlation for c in records",
        "better = sum(c.feature_correlation < c.neuron_correlation for c in records",
        ("report/test_page.py::test_the_better_of_feature_and_neuron_is_emphasised_and_counted",),
    ),
    Mutant(
        "report: every token that fires is shaded alike",
        "part = min(max(activation / largest, 0), 1)",
        "part = 1",
        ("report/test_page.py::test_shading_grows_with_activation",),
    ),
    Mutant(
        "report: shares per thousand are called per million",
        "{1e6 * value:.3g} per million",
        "{1e3 * value:.3g} per million",
        ("runtime/test_formatting.py::test_tiny_shares_are_given_per_million",),
    ),
    Mutant(
        "report: dead features are in the histogram",
        "density[np.isfinite(density) & (density > 0)]",
        "density[np.isfinite(density)]",
        ("report/test_page.py::test_a_dictionary_that_is_all_dead_is_said_to_be",),
    ),
    Mutant(
        "pareto: dominated points are on the front",
        "if point[1] < best:",
        "if point[1] <= best:",
        ("report/test_pareto.py::test_the_front_is_what_no_other_point_dominates",),
    ),
    Mutant(
        "pareto: the worst explained are on the front",
        'sign = 1 if metric == "mse" else -1',
        "sign = 1",
        ("report/test_pareto.py::test_the_table_marks_the_settings_that_no_other_dominates",),
    ),
    Mutant(
        "pareto: names break the table",
        "return visible(str(value))",
        "return str(value)",
        ("report/test_pareto.py::test_names_cannot_break_the_table",),
    ),
    Mutant(
        "comparison: the least explained is the best",
        "pareto.front([(x, -y) for x, y in points])",
        "pareto.front([(x, y) for x, y in points])",
        ("report/test_comparison.py",),
    ),
    Mutant(
        "harvest: a store elsewhere is not locked",
        'return lock(location.local, "store")',
        "return contextlib.nullcontext()",
        ("experiments/test_harvest.py::test_two_harvests_into_one_store_do_not_run_at_the_same_time",),
    ),
    Mutant(
        "harvest: rows left out are not counted",
        'job.made.n_rows - done["n_rows"]',
        'done["n_rows"] - done["n_rows"]',
        ("experiments/test_harvest.py::test_rows_of_an_array_that_are_not_finite_are_refused_or_left_out",),
    ),
    Mutant(
        "sweep: each member has an order of rows of its own",
        '"data_seed": self.order_seed}',
        '"data_seed": seed}',
        ("experiments/test_sweep.py::test_a_member_has_the_bits_of_the_same_dictionary_trained_alone",),
    ),
    Mutant(
        "sweep: a value given twice is trained twice",
        "if values.count(v) > 1]",
        "if values.count(v) > 2]",
        ("experiments/test_sweep.py::test_an_impossible_grid_is_refused_before_anything_is_written",),
    ),
    Mutant(
        "train_sae: where rows wait belongs to the identity",
        "stream = StreamConfig(window_blocks=config.stream.window_blocks)",
        "stream = config.stream",
        (
            "activations/sources/test_training.py::test_where_batches_wait_may_change_between_a_stop_and_its_resume_but_not_what_is_mixed",
        ),
    ),
    Mutant(
        "inspect: control characters reach the terminal",
        'return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)',
        "return text",
        ("stages/test_inspect.py::test_nothing_but_text_is_shown",),
    ),
    Mutant(
        "inspect: damaged steps are no error",
        'if damages:\n        raise BadInput(f"{workdir}',
        'if damages == 0:\n        raise BadInput(f"{workdir}',
        ("stages/test_inspect.py::test_the_step_in_which_a_bit_is_wrong_is_named",),
    ),
    Mutant(
        "train_transformer: the hash does not know names",
        "h.update(jax.tree_util.keystr(path).encode())",
        "pass",
        ("stages/test_params_hash.py",),
    ),
    Mutant(
        "entry: a mistake ends with exit code 1",
        "EXIT_BAD_INPUT = 2",
        "EXIT_BAD_INPUT = 1",
        ("experiments/test_bad_input.py",),
    ),
    Mutant(
        "entry: arguments without a flag are passed over",
        "    if len(left) > 1:",
        "    if len(left) > 99:",
        ("experiments/test_bad_input.py",),
    ),
    Mutant(
        "configs: A/3 has another size",
        "SIZES = (512, 4096, 16_384, 32_768,",
        "SIZES = (512, 4096, 16_384, 32_786,",
        ("experiments/test_configs.py::test_sizes_are_those_of_the_paper",),
    ),
    Mutant(
        "bench: what one part leaves unspent is lost",
        "left * self._weights.pop(part) / whole",
        "left * self._weights.pop(part) / (whole + 1)",
        ("experiments/bench/test_budget.py",),
    ),
    Mutant(
        "local: the last exit code counts",
        "if code and first in (0, LOST):",
        "if code:",
        ("launch/test_local.py::test_the_exit_code_is_that_of_the_process_that_failed_first",),
    ),
    Mutant(
        "local: a signal's exit code is below 128",
        "code = code if code >= 0 else 128 - code",
        "code = code if code >= 0 else -code",
        ("launch/test_local.py::test_a_process_that_a_signal_ended_counts_as_128_and_the_signal",),
    ),
    Mutant(
        "local: all processes are the first",
        '"MONOSEM_PROCESS_ID": str(number)}',
        '"MONOSEM_PROCESS_ID": "0"}',
        ("launch/test_local.py::test_each_process_is_told_who_it_is_and_the_lines_of_all_but_the_first_are_numbered",),
    ),
    Mutant(
        "compile check: a loop of a TPU program runs once more",
        "return max(end - begin, 0) if",
        "return max(end - begin, 0) + 1 if",
        ("launch/test_hlo_cost.py::test_a_loop_of_a_tpu_program_says_by_its_counter_how_often_it_runs",),
    ),
    Mutant(
        "compile check: memory that is given over counts twice",
        '- 2 * sizes["aliased"]}',
        "}",
        ("launch/test_hlo_cost.py::test_memory_is_that_of_one_device_and_the_peak_counts_what_is_given_over_once",),
    ),
    Mutant(
        "compile check: a program without room is called one that fits",
        "    if needed > capacity:",
        "    if needed > 2 * capacity:",
        ("launch/test_compile_check.py::test_one_byte_too_many_does_not_fit",),
    ),
    Mutant(
        "drill: runs with other logs are the same",
        '            ("metrics", [r.metrics for r in (one, other)]),\n',
        "",
        ("launch/test_drill.py::test_another_figure_or_log_line_is_noticed",),
    ),
    Mutant(
        "shuffle: queries, keys and values are one matrix",
        'JOINED = {"qkv": 3}',
        'JOINED = {"qkv": 1}',
        ("models/test_shuffle.py::test_queries_keys_and_values_are_three_matrices",),
    ),
    Mutant(
        "shuffle: all matrices of one size have one order",
        "stream(f\"transformer.shuffle.{'/'.join(names)}\", seed)",
        'stream("transformer.shuffle", seed)',
        ("models/test_shuffle.py::test_the_order_is_that_of_the_seed_and_of_the_name",),
    ),
    Mutant(
        "shuffle: a shuffled transformer is shuffled again",
        'if "shuffle_of" in source.record["parents"]:',
        "if False:",
        ("stages/test_shuffle_transformer.py::test_what_is_no_finished_transformer_is_refused",),
    ),
    Mutant(
        "feature sets: the dictionary of a trained transformer is a control",
        'if "shuffle_of" not in found.transformer.record["parents"]:',
        "if False:",
        ("test_load_sets.py::test_a_control_is_a_dictionary_of_a_shuffled_transformer",),
    ),
    Mutant(
        "logit weights: rare tokens stay",
        "usual = np.asarray(occurrences) >= least",
        "usual = np.asarray(occurrences) >= 0",
        ("analysis/test_logit_weights.py::test_tokens_that_are_rare_or_special_are_left_out",),
    ),
    Mutant(
        "logit weights: the median is that of the whole vocabulary",
        "    v = v if tokens is None else v[:, tokens]\n    return v - np.median(v, axis=-1, keepdims=True)\n",
        "    v = v - np.median(v, axis=-1, keepdims=True)\n    return v if tokens is None else v[:, tokens]\n",
        ("analysis/test_logit_weights.py::test_weights_of_chosen_tokens_have_their_own_median",),
    ),
    Mutant(
        "logit weights: one far token is a second mode",
        "found[:, : LEAST_IN_MODE - 1] = False",
        "found[:, :0] = False",
        ("analysis/test_logit_weights.py::test_a_second_mode_is_found_where_there_is_one_and_rarely_elsewhere",),
    ),
    Mutant(
        "effects: BOS is held too, where contexts go on",
        "shift = jnp.where(real, value[:, None] - f, 0)\n    moves",
        "shift = value[:, None] - f\n    moves",
        ("analysis/effects/test_hold.py",),
    ),
    Mutant(
        "effects: BOS is held too, where tokens go on",
        "shift = np.where(tokens != tapped.bos, pairs.value[:, None] - f, 0).astype(np.float32)",
        "shift = (pairs.value[:, None] - f).astype(np.float32)",
        ("analysis/effects/test_hold.py",),
    ),
    Mutant(
        "effects: a held feature replaces the activations",
        "opened.acts[place] + moves[..., None] * direction[:, None]",
        "shift[..., None] * direction[:, None]",
        ("analysis/effects/test_hold.py",),
    ),
    Mutant(
        "effects: the last attention is overlooked",
        'layer < model.config.n_layers - 1 or kind == "resid_pre" or not by_token',
        'kind == "resid_pre" or not by_token',
        ("analysis/effects/test_hold.py",),
    ),
    Mutant(
        "effects: rounding before the first change is an effect",
        "    reached = jnp.cumsum(shift != 0, axis=1) > 0\n",
        "    reached = jnp.ones(shift.shape, bool)\n",
        ("analysis/effects/test_hold.py",),
    ),
    Mutant(
        "effects: the loss of a token is that of the next pair",
        "opened.losses[place, following - 1]",
        "opened.losses[place, following - 2]",
        ("analysis/effects/test_hold.py",),
    ),
    Mutant(
        "ablation: BOS counts as elsewhere",
        "fires & real, ~fires & real, held",
        "fires, ~fires, held",
        ("analysis/effects/test_ablation.py",),
    ),
    Mutant(
        "ablation: effects of an example lie one token early",
        "on_tokens = np.concatenate([[0], self.held.loss_change[row[0]]])",
        "on_tokens = np.concatenate([self.held.loss_change[row[0]], [0]])",
        ("analysis/effects/test_ablation.py",),
    ),
    Mutant(
        "sampling: a feature keeps the value of the prompt",
        "f = jax.lax.dynamic_update_slice_in_dim(f, found, t - 1, axis=1)",
        "f = f",
        ("analysis/effects/test_sampling.py",),
    ),
    Mutant(
        "sampling: the prompt is always held",
        "(place >= held_from) & ",
        "",
        ("analysis/effects/test_sampling.py",),
    ),
    Mutant(
        "sampling: BOS is sampled",
        ".at[:, tapped.bos].set(-jnp.inf)",
        "",
        ("analysis/effects/test_sampling.py",),
    ),
    Mutant(
        "steering: the share counts the prompt",
        "[:, len(prompt) :].mean(axis=1).reshape",
        ".mean(axis=1).reshape",
        ("analysis/effects/test_steering.py",),
    ),
    Mutant(
        "steering: random directions are not of the feature's norm",
        "    d *= np.linalg.norm(target) / np.linalg.norm(d, axis=1, keepdims=True)\n",
        "",
        ("analysis/effects/test_steering.py",),
    ),
    Mutant(
        "direct test: the shift is not taken out of the slope",
        "slope = together / (np.sum(a * a, axis=1) * shift)",
        "slope = together / np.sum(a * a, axis=1)",
        ("analysis/effects/test_steering.py",),
    ),
    Mutant(
        "rows: they are not divided before they are encoded",
        "x = (x - shift) / divisor",
        "x = x - shift",
        ("sae/test_row_scales.py",),
    ),
    Mutant(
        "rows: reconstructions are not scaled back",
        "return y_hat * scale + shift",
        "return y_hat + shift",
        ("interop/test_published.py",),
    ),
    Mutant(
        "rows: the deviation is that of all numbers",
        "keepdims=True, ddof=1)\n    return mean",
        "keepdims=True)\n    return mean",
        ("interop/test_published.py",),
    ),
    Mutant(
        "effects: the scale of a row is left out, where contexts go on",
        "moves = shift if opened.gain is None else shift * opened.gain[place]\n",
        "moves = shift\n",
        ("interop/test_published_stages.py",),
    ),
    Mutant(
        "published, saelens: a threshold is not divided by the factor",
        'scaled["threshold"] = p["threshold"] / s',
        'scaled["threshold"] = p["threshold"]',
        ("interop/test_published.py",),
    ),
    Mutant(
        "published, saelens: the mean of whitening is left out",
        'p["b_dec"] @ inverse + white["mean"]',
        'p["b_dec"] @ inverse',
        ("interop/test_published.py",),
    ),
    Mutant(
        "published, saelens: the names of before version 6 are not known",
        'RENAMED = {"hook_point": "hook_name", ',
        "RENAMED = {",
        ("interop/test_published.py",),
    ),
    Mutant(
        "published, dictionary_learning: b_dec is always taken from the input",
        "    if not from_input:\n        params |= centred(params)\n    if name",
        "    if name",
        ("interop/test_published.py",),
    ),
    Mutant(
        "published, dictionary_learning: norms of rows stay",
        '"W_enc": params["W_enc"] * norm,',
        '"W_enc": params["W_enc"],',
        ("interop/test_published.py",),
    ),
    Mutant(
        "published, gemma_scope: b_dec is taken from the input",
        "        params |= centred(params)\n        check_finite(params, str(path))\n",
        "",
        ("interop/test_published.py",),
    ),
    Mutant(
        "published, sparsify: W_skip is not transposed",
        'turned = ("encoder.weight", "W_skip")',
        'turned = ("encoder.weight",)',
        ("interop/test_published.py",),
    ),
    Mutant(
        "published, openai: rows are not normalised",
        'rows="layer_norm" if normalised else ""',
        'rows=""',
        ("interop/test_published.py",),
    ),
    Mutant(
        "published: an archive's entries may promise anything",
        "if promised != entry.file_size:",
        "if False:",
        ("interop/test_published_damage.py",),
    ),
    Mutant(
        "published: activations of another width are taken",
        "    if widths != found.row_widths:\n",
        "    if len(widths) != len(found.row_widths):\n",
        ("interop/test_published_stages.py",),
    ),
]


if __name__ == "__main__":
    sys.exit(main())
