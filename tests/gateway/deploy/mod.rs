//! Operation: the command line, and the dashboard, alerts and compose file in `deploy/`.

mod cli;
mod dashboards;
mod promql;
