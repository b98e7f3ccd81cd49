//! A guest's standard input: the request's body, polled only when the guest reads.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use futures::StreamExt;
use tokio::io::AsyncRead;
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use crate::books::Books;
use crate::{Failure, Input};

/// Standard input, before the guest's descriptor takes it.
pub(crate) struct Stdin(Mutex<Option<Reading>>);

struct Reading {
    body: Option<Input>,
    chunk: Bytes,
    broken: Option<String>,
    books: Arc<Books>,
}

impl Stdin {
    pub(crate) fn new(body: Input, books: Arc<Books>) -> Self {
        let reading = Reading { body: Some(body), chunk: Bytes::new(), broken: None, books };
        Self(Mutex::new(Some(reading)))
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        // Only WASI preview 3 asks for this one.
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        let reading = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match reading {
            Some(reading) => Box::new(reading),
            None => Box::new(wasmtime_wasi::p2::pipe::ClosedInputStream),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Reading {
    async fn ready(&mut self) {
        while self.chunk.is_empty() {
            let Some(body) = &mut self.body else { return };
            match body.next().await {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => {
                    self.broken = Some(error.to_string());
                    self.body = None;
                }
                None => self.body = None,
            }
        }
    }
}

impl InputStream for Reading {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.chunk.is_empty() && self.body.is_none() {
            // A guest that took a part for the whole would answer wrongly, so it is ended.
            return Err(match self.broken.take() {
                Some(reason) => StreamError::Trap(self.books.fail(Failure::Input(reason))),
                None => StreamError::Closed,
            });
        }
        let taken = self.chunk.copy_to_bytes(size.min(self.chunk.len()));
        self.books.read(taken.len());
        Ok(taken)
    }
}
