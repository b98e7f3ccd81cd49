//! What a call is given.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

const MIB: u64 = 1024 * 1024;

/// A request's body. It is polled only when the guest reads; an `Err` in it ends the call with
/// [`crate::Failure::Input`].
pub type Input = BoxStream<'static, io::Result<Bytes>>;

/// One call's limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Linear memory in bytes, tables and stack not counted; cut to
    /// [`crate::Settings::memory_bytes_max`].
    pub memory_bytes: u64,
    /// Time left, counted from [`crate::Sandbox::run`]: waiting, running and being read from alike.
    pub time: Duration,
    /// Bytes of standard output, a CGI header block included; `None` for any number.
    pub output_bytes_max: Option<u64>,
    /// How many of the last bytes of standard error are kept for the report.
    pub stderr_bytes_max: usize,
}

impl Limits {
    /// 128 MiB of memory, 60 s, output without bound, 64 KiB of standard error.
    pub const STANDARD: Self = Self {
        memory_bytes: 128 * MIB,
        time: Duration::from_mins(1),
        output_bytes_max: None,
        stderr_bytes_max: 64 * 1024,
    };
}

/// One call of a function.
pub struct Invocation {
    /// The request as the function shall see it: the URI's path and query become `Http_Path` and
    /// `Http_Query` (so leave the part that names the function out), `Host` comes from the header
    /// or the URI's authority.
    pub request: http::Request<Input>,
    /// This call's limits.
    pub limits: Limits,
    /// The function's own environment; its `content_type` sets the answer's content type. Names
    /// that the request sets (`Http_*`) are not overridden by it.
    pub env: Vec<(String, String)>,
    /// Whether standard output begins with a header block (annotation `peerless.output: cgi`).
    pub cgi: bool,
}

impl Invocation {
    /// A call with the standard limits and an empty environment.
    pub fn new(request: http::Request<Input>) -> Self {
        Self { request, limits: Limits::STANDARD, env: Vec::new(), cgi: false }
    }

    /// The body of a request that is already there as a whole.
    pub fn input(body: impl Into<Bytes>) -> Input {
        let body = body.into();
        if body.is_empty() {
            return stream::empty().boxed();
        }
        stream::iter([Ok(body)]).boxed()
    }
}
