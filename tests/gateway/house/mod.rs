//! The house rules, and the pages that people read, against the code.

mod api_page;
mod files;
mod graph;
mod layers;
mod pages;
mod sources;
