"""Entry point of `python -m modbench`."""

from modbench.cli import main

if __name__ == "__main__":
    main()
