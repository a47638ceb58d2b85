"""A disk that is full: an error with a way on, and the last state whole."""

import errno
from pathlib import Path

import numpy as np
import pytest
from helpers.training_without_ray import StandIn, begin
from torch.utils.tensorboard import SummaryWriter

from recenv import artifacts
from recenv.errors import ArtifactError
from training import command
from training.command import DiskFullError, full_disk_told
from training.runs import folder, recording
from training.runs.load_policy import load
from training.train import train


def check(run):
    """The state on the disk is whole, whatever it is, and nothing of a part is left."""
    assert not list(run.path.glob("checkpoints/.part"))
    last, rows = run.checkpoint(), run.read_metrics()
    assert [row["iteration"] for row in rows] == list(range(len(rows)))
    if last is not None:
        last.check()
        load(run.path, checkpoint="last")
        assert rows[-1]["iteration"] >= last.iteration
    return last.iteration if last else 0


class Disk:
    """Fails at one write of all, or only counts them."""

    def __init__(self, monkeypatch, at=None):
        self.count, self.at = 0, at
        for place, name in (
            (folder, "write_atomically"),
            (artifacts, "save"),
            (StandIn, "save"),
            (SummaryWriter, "add_scalar"),
            (SummaryWriter, "flush"),
            (SummaryWriter, "close"),
        ):
            monkeypatch.setattr(place, name, self._wrapped(getattr(place, name)))

    def _wrapped(self, write):
        def wrapper(*args, **kwargs):
            self.count += 1
            if self.count - 1 == self.at:
                raise OSError(errno.ENOSPC, "No space left on device", "somewhere")
            return write(*args, **kwargs)

        return wrapper


@pytest.mark.parametrize("moments", [10, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_run_survives_a_disk_that_is_full_at_any_write(
    monkeypatch, tmp_path, env_config, moments
):
    def begun(name):
        return begin(monkeypatch, env_config, tmp_path / name, iterations=3)

    whole = begun("whole")
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        assert train(whole, progress=False)
    assert disk.count > 30
    for n in np.unique(np.linspace(0, disk.count - 1, moments).astype(int)).tolist():
        run = begun(f"run-{n}")
        with monkeypatch.context() as patch:
            Disk(patch, at=n)
            with pytest.raises(DiskFullError, match="The disk is full.*--resume"):
                train(run, progress=False)
        reached = check(run)
        assert train(run, progress=False)
        assert check(run) == 3 >= reached
        assert run.finished


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ArtifactError("cannot write"),
    ],
)
def test_whoever_meets_a_full_disk_it_is_told(error, capsys):
    if isinstance(error, ArtifactError):
        error.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/a/file")

    def body(stop):
        raise error

    assert command.run(body) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: The disk is full")
    assert "Make space" in told
    assert told.count("\n") == 1


def test_other_errors_pass():
    with pytest.raises(PermissionError), full_disk_told(Path("x")):
        raise PermissionError(errno.EACCES, "no")


def test_a_recording_that_finds_no_space_leaves_nothing(monkeypatch, tmp_path, world, game):
    from recenv.recommenders import RandomRecommender
    from recenv.sim.simulator import Simulator

    visits = recording.record(Simulator(world, game), RandomRecommender(), visits=3, progress=False)

    def full(table, path, **options):
        Path(path).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(recording.pq, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        recording.save(tmp_path / "x.parquet", visits, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("blocks", range(2, 22, 2))  # with all that it keeps, it needs 21 or more
def test_a_run_on_a_small_disk_ends_with_an_error_and_a_whole_state(
    monkeypatch, env_config, small_disk, blocks
):
    place = small_disk(4096 * blocks)
    try:
        run = begin(monkeypatch, env_config, place / "run", iterations=50)
    except ArtifactError as error:
        assert "Free space" in str(error)  # noqa: PT017  not even its settings had room
        return
    with pytest.raises(DiskFullError, match=r"The disk is full.*Make space.*--resume"):
        train(run, progress=False)
    reached = check(run)
    small_disk(4096 * 1000)
    assert train(run, progress=False)
    assert check(run) == 50 >= reached
