"""A store's writer may die at any moment: the resuming process ends with the same bytes and repeats no work."""

import pytest

from tests.activations.store.small import (
    BUCKET,
    MOMENTS,
    ROWS,
    Died,
    Mortal,
    content,
    open_writer,
    write_store,
    write_together,
    write_tokens,
)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(len(MOMENTS)))
def test_a_death_at_any_moment_costs_nothing_but_time(tmp_path, whole, at, after):
    with pytest.raises(Died):
        write_store(Mortal(tmp_path, at, after=after))
    done = MOMENTS[: at + after]
    again = Mortal(tmp_path)
    writer = open_writer(again)
    assert [bucket for bucket, _, _ in writer.todo] == list(range(sum(m.startswith(".parts/0") for m in done), 3))
    assert writer.manifest["rows_written"] == min(max(done.count("store.json") - 1, 0) * BUCKET, ROWS)
    write_store(again)
    assert content(tmp_path) == whole


def test_the_moments_at_which_a_writer_may_die_are_these(tmp_path):
    location = Mortal(tmp_path)
    write_store(location)
    assert location.moments == MOMENTS


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_death_while_preparing_costs_nothing_but_time(tmp_path, whole, n):
    def die(writer):
        write_tokens(writer)
        raise Died

    with pytest.raises(Died):
        open_writer(tmp_path, prepare=die)
    assert not (tmp_path / "store.json").exists()
    write_together(tmp_path, n)
    assert content(tmp_path) == whole


@pytest.mark.parametrize("damage", ["cut", "gone", "garbage", "lock"])
def test_what_a_death_left_of_a_bucket_is_written_over(tmp_path, whole, damage):
    with pytest.raises(Died):
        write_store(Mortal(tmp_path, MOMENTS.index(".parts/00000001.json")))
    for name in ("activations", "origin"):
        shard = tmp_path / name / "c" / "3" / "0"
        if damage == "cut":
            shard.write_bytes(shard.read_bytes()[:100])
        elif damage == "gone":
            shard.unlink()
        elif damage == "garbage":
            shard.write_bytes(b"?" * 1000)
        else:
            shard.unlink()
            shard.with_name("0.__lock").write_bytes(b"half of it")
    write_store(tmp_path)
    assert content(tmp_path) == whole


@pytest.mark.parametrize("first, then", [((1, 2), 1), ((2, 3), 4), ((3, 4), 2), ((0, 2), 3)])
def test_other_processes_go_on_with_what_some_have_left(tmp_path, whole, first, then):
    open_writer(tmp_path)
    write_store(tmp_path, process=first, buckets=1)
    made = [b for p in range(then) for b, _, _ in open_writer(tmp_path, process=(p, then)).todo]
    assert sorted(made) == [b for b in range(3) if b != first[0]]
    write_together(tmp_path, then)
    assert content(tmp_path) == whole


def test_the_first_process_commits_what_the_others_had_made_before_it(tmp_path, whole):
    open_writer(tmp_path)
    for p in (1, 2, 3):
        write_store(tmp_path, process=(p, 4), buckets=1)
    assert open_writer(tmp_path, process=(0, 4)).todo == [(0, 0, BUCKET)]
    write_store(tmp_path, process=(0, 4))
    assert content(tmp_path) == whole
