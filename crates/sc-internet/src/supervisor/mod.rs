//! Who lives and who dies: the supervisor's policy, without processes, sockets or clocks.
