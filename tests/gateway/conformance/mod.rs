//! Conformance, judged by software of others: Autobahn, the providers' SDKs, clients in other
//! languages, and telemetry viewers.

mod autobahn;
mod clients;
mod sdk;
mod viewers;
