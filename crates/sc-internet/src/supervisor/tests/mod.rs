//! The policy's rules one by one, and its long life under a simulation.

mod faults;
mod hand_over;
mod renewal;
mod simulation;
mod stage;
mod stopping;
mod wishes;
