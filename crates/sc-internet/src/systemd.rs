//! What we and a service manager tell each other.
