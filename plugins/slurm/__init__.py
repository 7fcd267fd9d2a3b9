"""Parts of the Slurm launcher: options, the queue, and the process inside a job."""
