import logging

import pytest


@pytest.fixture(autouse=True)
def _no_log_of_the_compiler():
    """Pytest would gather torch's records of all that it traces, which takes longer than the tests."""
    logger = logging.getLogger("torch.__trace")
    before, logger.disabled = logger.disabled, True
    yield
    logger.disabled = before
