"""What works without the optional packages, and how fast things import."""

import subprocess
import sys
import textwrap


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "torch", "transformers", "sentence_transformers",
                                  "matplotlib", "implicit", "tensorboard"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""


def test_toy_needs_only_the_base_packages():
    out = run(
        BLOCK
        + """
import recenv
env = recenv.parallel_env("recenv/Toy-v0")
observations, _ = env.reset(seed=0)
while env.agents:
    env.step({agent: env.action_space(agent).sample() for agent in env.agents})
print("played")
"""
    )
    assert out == "played\n"


def test_what_is_missing_is_named_with_the_command_that_installs_it():
    out = run(
        BLOCK
        + """
import recenv
from recenv.errors import MissingDependencyError
from recenv.synthetic import planted_world
world = planted_world()
try:
    config = recenv.WorldConfig().user_model
    recenv.fit_user_model(world.train, world.catalog, world.interests, config)
except MissingDependencyError as error:
    print(error)
"""
    )
    assert "needs the package 'torch'" in out
    assert "pip install 'recenv[lm]'" in out


def test_importing_loads_nothing_heavy():
    out = run(
        """
        import sys, recenv
        heavy = {"ray", "torch", "transformers", "numba", "pandas", "matplotlib", "scipy"}
        print(sorted(heavy & set(sys.modules)))
        """
    )
    assert out == "[]\n"
