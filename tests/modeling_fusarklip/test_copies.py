"""What both model repositories hold is the same code: neither can import the other."""

import inspect

import pytest

import modeling_fusargpt.processing_fusargpt as theirs
from modeling_fusarklip import inputs as ours
from tests.paths import ROOT


def test_the_modulation_is_that_of_fusargpt():
    original = (ROOT / "modeling_fusargpt" / "tlm.py").read_text()
    copy = (ROOT / "modeling_fusarklip" / "tlm.py").read_text()
    assert original.replace(".configuration_fusargpt import", ".configuration_fusarklip import") == copy != original


@pytest.mark.parametrize(
    "name",
    [name for name, value in vars(ours).items() if inspect.isfunction(value) and value.__module__ == ours.__name__],
)
def test_priors_and_pictures_are_checked_as_in_fusargpt(name: str):
    assert inspect.getsource(vars(ours)[name]) == inspect.getsource(vars(theirs)[name])


def test_so_are_the_constants_of_those_checks():
    assert (ours.PRIOR_SIZE, ours.PRIOR_KEYS, ours.SCALE_FIRST) == (
        theirs.PRIOR_SIZE,
        theirs.PRIOR_KEYS,
        theirs.SCALE_FIRST,
    )
