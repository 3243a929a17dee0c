"""`python -m posewire`: the same program as `posewire`."""

from posewire.cli import main

if __name__ == "__main__":
    main()
