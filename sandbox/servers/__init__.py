"""The servers of the world, each its own process on a loopback port, all showing the state as of simulated now."""
