//! The REST and streaming endpoints: prompts, sessions, conversations, events, cancellation, and
//! requests that are refused.

mod cancellation;
mod conversations;
mod events;
mod exec;
mod negotiation;
mod requests;
mod sessions;
