"""Kernels in C for the CPU, built by the machine's own compiler when they are first asked for."""
