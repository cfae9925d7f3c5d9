"""The browser of this machine that the demo's tests drive: python -m tests.space_app.browser says which.

It is the one that FUSARGPT_BROWSER names, or the first of `NAMES` on the path. `make test` installs Debian's Chromium
where it may. Without a browser the tests that need one are skipped with this reason, and fail where CI is set, so that
nobody takes them for passed.
"""

import os
import shutil
import sys
from pathlib import Path

VARIABLE = "FUSARGPT_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
MISSING = f"no browser for the demo's tests: install Chromium (apt-get install chromium), or name one in {VARIABLE}"


def find_browser() -> Path | None:
    """The executable of a Chromium; None when there is none.

    Raises:
        FileNotFoundError: the variable names a file that is not there.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"{VARIABLE}: {named} is not there; expected the executable of a Chromium")
        return Path(named)
    found = filter(None, map(shutil.which, NAMES))
    return next(map(Path, found), None)


if __name__ == "__main__":
    browser = find_browser()
    print(MISSING if browser is None else browser)
    sys.exit(browser is None)
