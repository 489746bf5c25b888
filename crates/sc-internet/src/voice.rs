//! What a run tells the person or the service that started it. The binary decides how it looks; this room only says what.

/// Takes what is to be told. Must not block, and must not need a thread of its own.
pub trait Voice {
    /// The server is ready: this is what it serves and how to go on.
    fn ready(&self, block: &[String]);
    /// A log line, of the master or of a worker, as one JSON object: `time`, `code`, `event`, `severity`, then its own fields.
    /// It may be kept until [`Voice::go_on`], which is called when no more lines come just then.
    fn line(&self, json: &str);
    /// Writes what was kept or could not be written before; asked again and again.
    fn go_on(&self);
    /// The last words.
    fn farewell(&self, words: &[String]);
}
