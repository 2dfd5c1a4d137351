"""Makes the virtual environment `.venv` with a working pip, on a machine that may lack `python3-venv`.

Run as `python3 tools/make_venv.py FOLDER`. Uses the standard library only, and syntax that an old Python 3
still reads, so that it can say what is wrong with it. Debian splits `ensurepip` from `python3`; where it is
missing, pip comes from the system's pip, from Debian's wheel folder, or from Debian's package of pip's wheel,
which apt fetches and dpkg unpacks without administrator's rights.
"""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

__all__ = ["main"]

NEEDED = (3, 11)
WHEEL_PACKAGE = "python3-pip-whl"
SYSTEM_WHEELS = "/usr/share/python-wheels"


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


def run(*command: str, cwd: "str | None" = None) -> bool:
    """Runs a command silently and says whether it exists and succeeded."""
    quiet = subprocess.DEVNULL
    try:
        return subprocess.run(command, cwd=cwd, stdout=quiet, stderr=quiet).returncode == 0
    except OSError:
        return False


def pip_works(python: str) -> bool:
    return run(python, "-m", "pip", "--version")


def install_from_wheel(python: str, wheel: str) -> bool:
    """Installs pip from its own wheel, which Python can run without unpacking."""
    return run(python, os.path.join(wheel, "pip"), "install", "--no-index", wheel)


def wheels_of_package(folder: str) -> "list[str]":
    """Fetches Debian's package of pip's wheel into a folder, unpacks it there, and returns the wheels."""
    if not run("apt-get", "download", WHEEL_PACKAGE, cwd=folder):
        return []
    for package in glob.glob(os.path.join(folder, WHEEL_PACKAGE + "_*.deb")):
        run("dpkg", "-x", package, folder)
    return wheels_in(os.path.join(folder, "usr/share/python-wheels"))


def wheels_in(folder: str) -> "list[str]":
    return sorted(glob.glob(os.path.join(folder, "pip-*.whl")), reverse=True)


def add_pip(python: str) -> bool:
    """Brings pip into an environment made without it, by the first way that works."""
    if run(sys.executable, "-m", "pip", "--python", python, "install", "pip") and pip_works(python):
        return True
    if any(install_from_wheel(python, wheel) and pip_works(python) for wheel in wheels_in(SYSTEM_WHEELS)):
        return True
    with tempfile.TemporaryDirectory() as folder:
        wheels = wheels_of_package(folder)
        return any(install_from_wheel(python, wheel) and pip_works(python) for wheel in wheels)


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
        "cannot make the virtual environment "
        + folder
        + ": neither ensurepip, a system pip nor the package "
        + WHEEL_PACKAGE
        + " is to be had. Run 'sudo apt-get install python3-venv', then the same command again"
    )


if __name__ == "__main__":
    main(sys.argv[1])
