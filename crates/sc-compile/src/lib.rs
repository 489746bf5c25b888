//! From settings, which speak of the file, to what the engine wants. Shared by both modes.
//!
//! Sites, names of the little network and where they lead, who may use it. It binds nothing, watches nothing and serves
//! nothing; the modes do.
#![forbid(unsafe_code)]
