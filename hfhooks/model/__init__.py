"""The words and rules of deliveries: values in, values out, and nothing else."""
