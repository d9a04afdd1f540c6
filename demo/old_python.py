"""When `python3` is older than 3.11: start again with a newer one, or say so in one line. Any Python 3 can read this."""

import os
import shutil
import subprocess
import sys

NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")


def become_newer(script):  # type: ignore[no-untyped-def]  # read by old Pythons too
    """Run `script` with the first newer Python on the path; does not return."""
    for name in NEWER:
        path = shutil.which(name)
        if (
            path
            and subprocess.call([path, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
        ):
            os.execv(path, [path, script] + sys.argv[1:])  # noqa: RUF005  # unpacking is newer than 3.4
    sys.exit(
        "需要 Python 3.11 或更新版本，当前为 %d.%d / Python 3.11 or newer is needed, this is %d.%d (%s)"  # noqa: UP031
        % (sys.version_info[0], sys.version_info[1], sys.version_info[0], sys.version_info[1], sys.executable)
    )
