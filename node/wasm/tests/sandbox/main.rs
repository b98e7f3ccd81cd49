//! The sandbox, tried with the sample functions and with modules made to do harm.

mod cached;
mod convention;
mod ends;
mod refused;
mod samples;
mod streams;
mod support;
mod wasi;
