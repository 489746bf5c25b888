//! The bus: a Redis between the processes. No request ever waits for it, and it is never the only copy of anything.
