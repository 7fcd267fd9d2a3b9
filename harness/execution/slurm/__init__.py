"""What the Slurm launcher is made of: options, the queue, and what runs inside a job."""
