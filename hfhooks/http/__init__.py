"""HTTP/1.1 on the public side: bytes in bounded time, known to nothing else."""
