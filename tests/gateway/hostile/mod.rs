//! What a hostile client, repository or agent tries, on the real core in the real sandbox.

mod environment;
mod project_files;
