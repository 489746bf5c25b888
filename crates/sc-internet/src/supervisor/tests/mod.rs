//! The policy's rules one by one, and its long life under a simulation.
