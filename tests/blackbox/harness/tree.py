"""Programs of another Debian release, from tools/debian-tree."""
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
TOOL = str(ROOT / "tools" / "debian-tree")


def have(release):
    path = subprocess.run([TOOL, "path", release], capture_output=True, text=True).stdout.strip()
    return os.geteuid() == 0 and os.path.exists(f"{path}/.pgdba-tree")


def command(release, arguments, user=None, bind=()):
    """The command line that runs `arguments` in the tree. The process started has the program's own process number."""
    options = [item for folder in bind for item in ("--bind", str(folder))]
    if user:
        options += ["--user", user]
    return [TOOL, "run", release, *options, "--", *arguments]
