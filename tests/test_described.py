"""Every setting says what it means, in the docstring of its config alone."""

import dataclasses
import importlib
import pkgutil

import pytest

import recenv
import training
from recenv.config import Config, GameConfig, _attributes, describe


def configs():
    """Every config of both packages, wherever it is defined."""
    for package in (recenv, training):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.startswith(("recenv.studies.speed", "training.launch")):
                continue
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    waiting, out = [Config], []
    while waiting:
        for cls in waiting.pop().__subclasses__():
            out.append(cls)
            waiting.append(cls)
    ours = [cls for cls in out if cls.__module__.startswith(("recenv.", "training."))]
    return sorted(ours, key=lambda cls: cls.__name__)


def test_every_field_of_every_config_is_described():
    found = configs()
    assert len(found) > 20
    for cls in found:
        names = [f.name for f in dataclasses.fields(cls)]
        assert list(describe(cls)) == names, (cls, set(names) - set(describe(cls)))
        for name, meaning in describe(cls).items():
            assert len(meaning) > 9, (cls, name)


def test_no_description_is_of_a_field_that_is_gone():
    for cls in configs():
        described = set(_attributes(cls.__doc__ or ""))
        assert described <= set(dir(cls)) | {f.name for f in dataclasses.fields(cls)}, cls


def test_a_description_may_be_inherited_shared_and_long():
    @dataclasses.dataclass(frozen=True)
    class Base(Config):
        """A base.

        Attributes:
            a, b: lengths, in metres;
                zero or more.

        More text: not a field.
        """

        a: int = 0
        b: int = 0

    @dataclasses.dataclass(frozen=True)
    class Other(Base):
        """Another.

        Attributes:
            b: a width.
            c: a name.
        """

        c: str = ""

    assert describe(Base) == dict.fromkeys("ab", "lengths, in metres; zero or more.")
    assert describe(Other) == {
        "a": "lengths, in metres; zero or more.",
        "b": "a width.",
        "c": "a name.",
    }


@pytest.mark.parametrize("name", ["slate_size", "action_mask", "reward"])
def test_descriptions_are_whole(name):
    assert describe(GameConfig)[name].endswith(".")
