"""The short form of `make chaos`: every kind of fault once."""

from tools import chaos


def test_nothing_is_lost_whatever_dies(tmp_path):
    report = chaos.experiment(tmp_path, runs=24, seed=1)
    assert report.good, "\n".join([str(report), *report.wrong])
    assert report.runs == 24
    assert len(report.faults) >= len(chaos.FAULT_WEIGHTS) - 1  # SQLite has no connections to cut
