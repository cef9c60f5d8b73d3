//! The messages of `proto/codex_gateway.proto`.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Submission {
    #[prost(string, tag = "1")]
    pub(super) conversation_id: String,
    #[prost(string, tag = "2")]
    pub(super) session_id: String,
    #[prost(oneof = "Op", tags = "3, 4, 5")]
    pub(super) op: Option<Op>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Op {
    #[prost(message, tag = "3")]
    UserInput(UserInput),
    #[prost(message, tag = "4")]
    Interrupt(Interrupt),
    #[prost(message, tag = "5")]
    Answer(Answer),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UserInput {
    #[prost(string, tag = "1")]
    pub(super) text: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) images: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) model: String,
    #[prost(string, tag = "4")]
    pub(super) cwd: String,
    #[prost(string, tag = "5")]
    pub(super) sandbox: String,
    #[prost(uint64, tag = "6")]
    pub(super) timeout_ms: u64,
    #[prost(string, tag = "7")]
    pub(super) if_busy: String,
    #[prost(string, tag = "8")]
    pub(super) output_schema: String,
    #[prost(string, tag = "9")]
    pub(super) approval_policy: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Interrupt {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(string, tag = "1")]
    pub(super) approval_id: String,
    #[prost(string, tag = "2")]
    pub(super) decision: String,
    #[prost(string, tag = "3")]
    pub(super) reason: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) answers: Vec<QuestionAnswer>,
    #[prost(string, tag = "5")]
    pub(super) content: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct QuestionAnswer {
    #[prost(string, tag = "1")]
    pub(super) question_id: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) texts: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Accepted {
    #[prost(string, tag = "1")]
    pub(super) conversation_id: String,
    #[prost(string, tag = "2")]
    pub(super) session_id: String,
    #[prost(string, tag = "3")]
    pub(super) turn_id: String,
    #[prost(uint64, tag = "4")]
    pub(super) after_seq: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(uint64, tag = "1")]
    pub(super) seq: u64,
    #[prost(string, tag = "2")]
    pub(super) conversation_id: String,
    #[prost(string, tag = "3")]
    pub(super) id: String,
    #[prost(string, tag = "4")]
    pub(super) r#type: String,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) msg: Vec<u8>,
}
