"""AG-UI's own client against a running site."""

from tests import interop


def test_stock_client_does_all_that_it_can(site):
    interop.run(site, "agui.test.mjs")
