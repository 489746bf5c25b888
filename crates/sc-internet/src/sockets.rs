//! Every listening socket of the instance: bound once, in fixed order, and never closed while the master lives.
