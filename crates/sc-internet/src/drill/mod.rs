//! The drill: loads the person's own configuration on loopback while everything is made to go wrong, and counts what was lost.
