"""A local time-stamping authority, one for all tests that do not change it."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from openssl_authority import Authority


@pytest.fixture(scope="session")
def _openssl():
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")


@pytest.fixture(scope="session")
def authority(tmp_path_factory, _openssl):
    return Authority(tmp_path_factory.mktemp("authority") / "tsa")


@pytest.fixture
def make_authority(tmp_path, _openssl):
    """Makes another authority, each in a folder of its own."""
    return lambda folder="other", **settings: Authority(tmp_path / folder, **settings)
