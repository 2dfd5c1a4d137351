"""Makes the virtual environment `.venv` with a working pip, on a machine that may lack `python3-venv`.

Run as `python3 tools/make_venv.py FOLDER`. Uses the standard library only, and syntax that an old Python 3
still reads, so that it can say what is wrong with it. Debian splits `ensurepip` from `python3`; where it is
missing, pip comes from the system's pip, from Debian's wheel folder, or from the package index.
"""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from urllib.parse import urljoin

__all__ = ["main"]

NEEDED = (3, 11)
INDEX = "https://pypi.org/simple"
INDEX_FORM = "application/vnd.pypi.simple.v1+json"


def newer_python() -> "str | None":
    """Returns the name of a suitable interpreter on the search path, or None."""
    names = ("python3.13", "python3.12", "python3.11")
    return next((name for name in names if run(name, "-c", "import venv")), None)


def refuse_old_python() -> None:
    """Ends with a message where this interpreter is too old."""
    if sys.version_info >= NEEDED:
        return
    found = newer_python()
    have = "{}.{}".format(*sys.version_info[:2])
    remedy = "run 'make PYTHON=" + found + "'" if found else "install Python 3.11 or newer"
    sys.exit("Foldwright needs Python 3.11 or newer, but " + sys.executable + " is " + have + ": " + remedy)


def run(*command: str) -> bool:
    """Runs a command silently and says whether it exists and succeeded."""
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def pip_works(python: str) -> bool:
    return run(python, "-m", "pip", "--version")


def install_from_wheel(python: str, wheel: str) -> bool:
    """Installs pip from its own wheel, which Python can run without unpacking."""
    return run(python, os.path.join(wheel, "pip"), "install", "--no-index", wheel)


def fetch(url: str, form: str = "*/*") -> "tuple[bytes, str]":
    request = urllib.request.Request(url, headers={"Accept": form})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read(), reply.geturl()


def download_pip(folder: str) -> str:
    """Downloads the newest plain wheel of pip and compares it with the hash that the index gives."""
    body, page = fetch(os.environ.get("PIP_INDEX_URL", INDEX).rstrip("/") + "/pip/", INDEX_FORM)
    wheels = [
        f
        for f in json.loads(body.decode())["files"]
        if f["filename"].endswith("-py3-none-any.whl")
        and not f.get("yanked")
        and all(part.isdigit() for part in f["filename"].split("-")[1].split("."))
    ]
    newest = max(wheels, key=lambda f: [int(part) for part in f["filename"].split("-")[1].split(".")])
    data, _ = fetch(urljoin(page, newest["url"]))
    if hashlib.sha256(data).hexdigest() != newest["hashes"]["sha256"]:
        sys.exit("pip's wheel from the package index does not match its hash; try again")
    path = os.path.join(folder, newest["filename"])
    with open(path, "wb") as out:
        out.write(data)
    return path


def add_pip(python: str) -> bool:
    """Brings pip into an environment made without it, by the first way that works."""
    if run(sys.executable, "-m", "pip", "--python", python, "install", "pip") and pip_works(python):
        return True
    for wheel in sorted(glob.glob("/usr/share/python-wheels/pip-*.whl"), reverse=True):
        if install_from_wheel(python, wheel) and pip_works(python):
            return True
    with tempfile.TemporaryDirectory() as folder:
        try:
            return install_from_wheel(python, download_pip(folder)) and pip_works(python)
        except (OSError, ValueError, KeyError):
            return False


def main(folder: str) -> None:
    """Makes `folder` a virtual environment with pip, or ends with the exact remedy."""
    refuse_old_python()
    python = os.path.join(folder, "bin", "python")
    if pip_works(python):
        return
    if run(sys.executable, "-m", "venv", "--clear", folder) and pip_works(python):
        return
    print("python3 has no ensurepip (Debian keeps it in python3-venv); bringing pip another way", flush=True)
    if run(sys.executable, "-m", "venv", "--clear", "--without-pip", folder) and add_pip(python):
        return
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(
        "cannot make the virtual environment " + folder + ": neither ensurepip, a system pip nor the package "
        "index is available. Run 'sudo apt-get install python3-venv', then the same command again"
    )


if __name__ == "__main__":
    main(sys.argv[1])
