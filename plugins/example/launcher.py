"""Local processes, each noted in started.txt of the run folder."""

from modbench.extend import LocalLauncher


class Counting(LocalLauncher):
    """Notes what it starts."""

    def start(self, job, folder, timeout_s):
        with (folder.path / "started.txt").open("a") as file:
            file.write(f"{job.name}\n")
        return super().start(job, folder, timeout_s)


LAUNCHER = Counting
