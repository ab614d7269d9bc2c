"""axe-core is there to look at the pages, and it sees what is wrong."""

from __future__ import annotations

import pytest

from tests import plugin
from tests.browser.reader import Reader, Rules
from tests.harness import axe
from tests.harness.servers import ServerUnavailableError

pytestmark = pytest.mark.processes

# An image without a text, and a text that is hardly seen.
PLANTED = """
document.querySelector("main form").insertAdjacentHTML("beforeend", `
  <img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
  <p style="color: #999; background: #aaa">hardly</p>
`);
"""


@pytest.mark.parametrize("signed_in", ["en"], indirect=True)
def test_axe_core_sees_what_is_wrong_on_a_page(reader: Reader) -> None:
    try:
        axe.script()
    except ServerUnavailableError as error:
        plugin.skip_without_server(str(error))
    reader.open("/admin/scheduler/preference/")
    assert reader.axe(Rules.EVERYTHING) == []

    reader.script(PLANTED)

    assert {found.split(" ")[1] for found in reader.axe(Rules.EVERYTHING)} == {
        "image-alt",
        "color-contrast",
    }
    assert {found.split(" ")[1] for found in reader.axe(Rules.COLOURS)} == {"color-contrast"}
    assert reader.axe(Rules.NOTHING) == []
