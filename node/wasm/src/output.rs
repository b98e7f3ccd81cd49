//! A guest's standard output and standard error, as WASI sees them.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::Failure;
use crate::books::Books;
use crate::pipe::{PIPE_BYTES, Pipe};

/// Standard output: into the pipe, up to the limit.
#[derive(Clone)]
pub(crate) struct Stdout {
    pub(crate) pipe: Arc<Pipe>,
    pub(crate) books: Arc<Books>,
    pub(crate) bytes_max: u64,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {
        poll_fn(|cx| self.pipe.poll_room(cx)).await;
    }
}

impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.books.wrote(bytes.len()) > self.bytes_max {
            return Err(StreamError::Trap(self.books.fail(Failure::Output)));
        }
        self.pipe.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.pipe.has_room() { PIPE_BYTES } else { 0 })
    }
}

/// Standard error: its end is kept, and it never makes the guest wait.
#[derive(Clone)]
pub(crate) struct Stderr {
    pub(crate) books: Arc<Books>,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stderr {
    async fn ready(&mut self) {}
}

impl OutputStream for Stderr {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.books.complained(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIPE_BYTES)
    }
}

macro_rules! standard_stream {
    ($name:ident) => {
        impl IsTerminal for $name {
            fn is_terminal(&self) -> bool {
                false
            }
        }

        impl StdoutStream for $name {
            fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
                // Only WASI preview 3 asks for this one.
                Box::new(tokio::io::sink())
            }

            fn p2_stream(&self) -> Box<dyn OutputStream> {
                Box::new(self.clone())
            }
        }
    };
}

standard_stream!(Stdout);
standard_stream!(Stderr);
