//! The header block with which a function's output begins under `peerless.output: cgi`.
//!
//! As in RFC 3875, section 6, and as WAGI reads it: lines `Name: value`, ended by LF or CRLF, then
//! an empty line, then the body. `Status: 404 Not Found` sets the status (200 to 599); `Location`
//! without a status makes it 302; everything else is a header of the answer. At least one line is
//! needed. Headers that belong to a connection are dropped, and so is `Content-Length`: the node
//! frames the body by what is really in it.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Size of the block in bytes, its empty line included.
pub const BLOCK_BYTES_MAX: usize = 64 * 1024;

/// Headers that speak of the connection, or of a size that only the body can tell.
const DROPPED: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header block, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it makes of the status.
    pub status: StatusCode,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// Where the body begins in the bytes that were read.
    pub size: usize,
}

/// Reads the block at the beginning of `output`: `Ok(None)` if its end has not come yet, `Err` with
/// what is wrong if it never can.
pub fn parse(output: &[u8]) -> Result<Option<Block>, String> {
    let mut block = Block { status: StatusCode::OK, headers: HeaderMap::new(), size: 0 };
    let mut status = None;
    let mut lines = 0;
    loop {
        let rest = &output[block.size..];
        let Some(size) = rest.iter().position(|byte| *byte == b'\n') else {
            break;
        };
        if block.size + size + 1 > BLOCK_BYTES_MAX {
            break;
        }
        let line = rest[..size].strip_suffix(b"\r").unwrap_or(&rest[..size]);
        block.size += size + 1;
        if line.is_empty() {
            if lines == 0 {
                return Err("it is empty; at least one header is needed".to_owned());
            }
            let redirect = block.headers.contains_key(http::header::LOCATION);
            let default = if redirect { StatusCode::FOUND } else { StatusCode::OK };
            block.status = status.unwrap_or(default);
            return Ok(Some(block));
        }
        lines += 1;
        add(&mut block.headers, &mut status, line)
            .map_err(|what| format!("line {lines} {what}"))?;
    }
    if output.len() >= BLOCK_BYTES_MAX {
        return Err(format!("it has no end within {BLOCK_BYTES_MAX} bytes"));
    }
    Ok(None)
}

/// Whether an empty line is in `part`, which begins a line if it is the output's `first` part.
pub(crate) fn has_end(part: &[u8], first: bool) -> bool {
    let begins = first && (part.starts_with(b"\n") || part.starts_with(b"\r\n"));
    let ends_line = |at: usize| match &part[at + 1..] {
        [b'\n', ..] | [b'\r', b'\n', ..] => part[at] == b'\n',
        _ => false,
    };
    begins || (0..part.len()).any(ends_line)
}

fn add(
    headers: &mut HeaderMap,
    status: &mut Option<StatusCode>,
    line: &[u8],
) -> Result<(), String> {
    let shown = || String::from_utf8_lossy(&line[..line.len().min(80)]).escape_debug().to_string();
    let colon = line.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or_else(|| format!("has no colon: \"{}\"", shown()))?;
    let name = HeaderName::from_bytes(&line[..colon])
        .map_err(|_| format!("has a name that no header can have: \"{}\"", shown()))?;
    let value = line[colon + 1..].trim_ascii();
    if name == "status" {
        *status = Some(
            status_of(value)
                .ok_or_else(|| format!("has a status that is not 200 to 599: \"{}\"", shown()))?,
        );
        return Ok(());
    }
    if DROPPED.contains(&name.as_str()) {
        return Ok(());
    }
    let value = HeaderValue::from_bytes(value)
        .map_err(|_| format!("has a value that no header can have: \"{}\"", shown()))?;
    // The map's own bound is far above what fits the block.
    headers.try_append(name, value).map_err(|_| "is one header too many".to_owned())?;
    Ok(())
}

/// `404` or `404 Not Found`.
fn status_of(value: &[u8]) -> Option<StatusCode> {
    let number = value.split(|byte| *byte == b' ').next()?;
    StatusCode::from_bytes(number).ok().filter(|code| (200..600).contains(&code.as_u16()))
}
