//! The embedded sandbox: runs a function that is a WASI preview 1 command, under limits.
//!
//! ```text
//! Sandbox::new(Settings)                       once a node
//!   .compile(digest, bytes).await -> Module    once a function: checked, bounded, cached on disk
//!   .run(&module, Invocation)     -> Running   once a call: a fresh instance each time
//!       .head().await             -> Head      status and headers, or why there is none
//!       .split()                  -> (Body, End)
//!           Body: Stream<Item = Result<Bytes, Failure>>   dropping it stops the guest
//!           End:  Future<Output = Report>                 always resolves
//! ```
//!
//! Call order for one [`Running`]: [`Running::head`] once, then [`Running::split`] (or
//! [`Running::collect`]). Every call ends in exactly one [`Report`]; dropping the [`Running`] or its
//! [`Body`], or [`Canceller::cancel`], ends it with [`Failure::Cancelled`].
//!
//! # The convention
//!
//! That of OpenFaaS's classic watchdog: the request's body on standard input, `Http_*` in the
//! environment (see [`environment`]), the answer on standard output; exit status 0 is status 200 and
//! any other is 500 with `exit status N`, the output and the standard error as its text. The content
//! type is the function's variable `content_type`, else the request's, else
//! `application/octet-stream`. With [`Invocation::cgi`] the output begins with a header block as in
//! RFC 3875, which sets status and headers (see [`cgi`]).
//!
//! # When the head goes out
//!
//! A status can only be right if the exit status is known, and a stream can only be prompt if it is
//! not. So the head is held back until the guest has ended, or has written [`HEAD_HOLD_BYTES`], or
//! [`HEAD_HOLD_TIME`] has passed since its first byte of output, whichever comes first. After that
//! every write goes straight to the body, and a guest that fails has its body cut by an `Err`.
//!
//! # What a guest may do
//!
//! Compute, read, write, wait, tell the time, draw random numbers. No files, no network, no threads.
//! WASI preview 1 is served by this crate itself, not by `wasmtime-wasi`, because there a call of
//! the host can escape the guest's limits: with version 48, `poll_oneoff` with 1.6 million
//! subscriptions held a thread for half a second and took 130 MiB. Streams are quicker, too: one
//! copy in pieces of 64 KiB instead of three in pieces of 4, with output batched for each wake-up.
//!
//! Answers are the same on every machine as far as that depends on the engine: NaNs are canonical,
//! relaxed SIMD is deterministic.
//!
//! # Whose threads
//!
//! Guests run on [`Settings::guest_threads`] threads of the sandbox's own, as tasks that make room
//! for one another at every tick of a millisecond; the caller's runtime only polls channels. So a
//! guest costs no thread while it waits, and one that spins delays others by ticks and the node not
//! at all, but for the cores that they share; there the node's threads go first (on Linux guests are
//! five steps nicer).
//!
//! # What is left
//!
//! - A compilation cannot be killed. A hostile module is bounded by its size and that of its
//!   functions, by what they make the compiler do ([`Settings::function_work_max`] says what that
//!   comes to), the caller's patience by [`Settings::compile_timeout`], the harm by
//!   [`Settings::compile_workers`] nice threads: it can keep a worker, and a core where nobody else
//!   wants it.
//! - `memory.fill` and `memory.copy` do not look at the clock before they are through. Filling 1 GiB
//!   took 0.2 s where its pages were there and 4 to 10 s where they had to be made, on two cores
//!   busy with other work: so long may a guest keep its thread beyond a tick or its deadline.
//! - [`Report::memory_peak_bytes`] and the memory limit count linear memory. Beside it a call has a
//!   table (at most 8 bytes for each of [`Settings::table_elements_max`]), a stack of 2 MiB of which
//!   only what is used exists, up to 320 KiB of output on its way, and one chunk of input.
//! - Processors' side channels between guests of one process are what the engine makes of them.

mod cache;
pub mod cgi;
mod clock;
mod compile;
pub mod environment;
mod failure;
mod guest;
mod head;
mod host;
mod inspect;
mod invocation;
mod pipe;
mod running;
mod sandbox;
mod settings;
mod streams;
mod ticker;
mod wasi;
mod work;

pub use compile::{CompileError, Module};
pub use failure::Failure;
pub use invocation::{Input, Invocation, Limits};
pub use running::{Body, Canceller, End, HEAD_HOLD_BYTES, HEAD_HOLD_TIME, Head, Report, Running};
pub use sandbox::{Error, Sandbox};
pub use settings::Settings;
