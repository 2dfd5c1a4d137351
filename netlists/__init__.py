"""What is placed and on what: parts, fabrics, netlists."""

if __name__ != "foldwright.netlists":
    raise ImportError(
        f"'netlists' was imported as {__name__!r}: import it as 'foldwright.netlists', "
        "so that no module is loaded twice"
    )
