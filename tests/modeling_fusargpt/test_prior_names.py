from fusargpt.geo.prior import PRIOR_COLUMNS, PRIOR_FIELDS
from modeling_fusargpt import modeling_fusargpt, processing_fusargpt


def test_the_model_and_the_library_call_the_prior_the_same():
    assert processing_fusargpt.PRIOR_KEYS == PRIOR_COLUMNS
    assert modeling_fusargpt.PRIOR_FIELDS == PRIOR_FIELDS
