"""Train runs one after the other in one process: ``train_in_turn.py JOBS.json FOLDER``.

The file maps names to settings of ``TrainConfig``; each run comes to ``FOLDER/<name>``.
"""

import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

from training.config import TrainConfig
from training.runs.folder import RunFolder
from training.session import ray_session
from training.train import train


def main(jobs, folder):
    configs = {name: TrainConfig.from_dict(job) for name, job in jobs.items()}
    with ray_session(next(iter(configs.values())), verbose=False):
        for name, config in configs.items():
            run = RunFolder(folder / name)
            run.create(config)
            train(run, progress=False)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
