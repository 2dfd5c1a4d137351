"""The combinatorial problems and their Gymnasium environments."""

if __name__ != "foldwright.envs":
    raise ImportError(
        f"'envs' was imported as {__name__!r}: import it as 'foldwright.envs', "
        "so that no module is loaded twice"
    )
