"""What the black-box tests and the benchmark stand on: clusters to talk to, a client that keeps a journal, a probe that looks
for a second primary, and faults. Knows the product only by its command line, its files and its processes."""
