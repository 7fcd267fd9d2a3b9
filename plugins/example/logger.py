"""Lines: numbers of training as lines of text, in lines/JOB.txt of the run folder."""

from modbench.extend import Logger


class Lines:
    """An open logger of one training run."""

    def __init__(self, where):
        folder = where.folder / "lines"
        folder.mkdir(exist_ok=True)
        self.file = (folder / f"{where.job}.txt").open("a")

    def write(self, step, values):
        """Write values by metric."""
        self.file.writelines(f"{step} {key} {value}\n" for key, value in values.items())

    def flush(self):
        """Put what was written on the disk."""
        self.file.flush()

    def close(self):
        """Close the file."""
        self.file.close()


LOGGER = Logger(package="json", extra="", open=Lines)
