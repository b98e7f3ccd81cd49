//! What a head is made of, once it is time to make one.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::pipe::Ending;
use crate::{Failure, Head, Invocation, cgi};

/// A function's variable that sets its content type, as under the classic watchdog.
const CONTENT_TYPE_VARIABLE: &str = "content_type";

/// How one call's head is to be made.
pub(crate) struct HeadRule {
    cgi: bool,
    content_type: HeaderValue,
    /// How much of the output has been searched for the end of its header block.
    searched: usize,
}

impl HeadRule {
    pub(crate) fn of(invocation: &Invocation) -> Self {
        let own = invocation.env.iter().find(|(name, _)| name == CONTENT_TYPE_VARIABLE);
        let own = own.and_then(|(_, value)| HeaderValue::from_str(value).ok());
        let asked = || invocation.request.headers().get(CONTENT_TYPE).cloned();
        let default = HeaderValue::from_static("application/octet-stream");
        Self {
            cgi: invocation.cgi,
            content_type: own.or_else(asked).unwrap_or(default),
            searched: 0,
        }
    }

    /// The head of an answer that begins with `output`, which becomes the part of it that is body.
    /// `Ok(None)`: more output is needed.
    pub(crate) fn answer(&mut self, output: &mut BytesMut) -> Result<Option<Head>, Failure> {
        if !self.cgi {
            return Ok(Some(Head {
                status: StatusCode::OK,
                headers: with_content_type(self.content_type.clone()),
                body_bytes: None,
            }));
        }
        // Read as a whole only once, so that a guest that writes byte by byte costs no more.
        let from = self.searched.saturating_sub(2);
        self.searched = output.len();
        if output.len() < cgi::BLOCK_BYTES_MAX && !cgi::has_end(&output[from..], from == 0) {
            return Ok(None);
        }
        let Some(block) = cgi::parse(output).map_err(Failure::Malformed)? else {
            return Ok(None);
        };
        let _ = output.split_to(block.size);
        Ok(Some(Head { status: block.status, headers: block.headers, body_bytes: None }))
    }

    /// The whole answer of a guest that has ended, with all its output.
    pub(crate) fn whole(
        &mut self,
        ending: &Ending,
        mut output: BytesMut,
    ) -> Result<(Head, Bytes), Failure> {
        match &ending.outcome {
            Ok(()) => {
                let mut head = self.answer(&mut output)?.ok_or_else(|| {
                    Failure::Malformed(format!(
                        "the output ended before an empty line, after {} bytes",
                        output.len()
                    ))
                })?;
                head.body_bytes = Some(output.len() as u64);
                Ok((head, output.freeze()))
            }
            Err(Failure::Exited(status)) => Ok(self.own_error(*status, output, &ending.stderr)),
            Err(failure) => Err(failure.clone()),
        }
    }

    /// The function's own error: its exit status, output and standard error as text.
    fn own_error(&self, status: i32, mut output: BytesMut, stderr: &[u8]) -> (Head, Bytes) {
        if self.cgi
            && let Ok(Some(block)) = cgi::parse(&output)
        {
            let _ = output.split_to(block.size);
        }
        let mut text = BytesMut::from(format!("exit status {status}\n").as_bytes());
        text.unsplit(output);
        text.extend_from_slice(stderr);
        let head = Head {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            headers: with_content_type(HeaderValue::from_static("text/plain; charset=utf-8")),
            body_bytes: Some(text.len() as u64),
        };
        (head, text.freeze())
    }
}

fn with_content_type(value: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(CONTENT_TYPE, value);
    headers
}
