"""Information-bottleneck dynamics of backdoor training: sweeps, mutual information, stealth scores."""

__version__ = "0.1.0"
