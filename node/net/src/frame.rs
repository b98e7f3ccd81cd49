//! Frames: an unsigned varint length and that many bytes, as libp2p's Kademlia has them.

use std::io;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes of the longest length we read: enough for 2 MiB, far over every limit.
const LENGTH_BYTES_MAX: usize = 3;

/// Bytes set aside before any of a frame has come: a length alone reserves no more than this.
const FIRST_BYTES: usize = 1024;

/// A frame that says *refused, and not looked at*.
pub(crate) const REFUSAL: &[u8] = &[0];

/// The same in HTTP/2: empty SETTINGS, then GOAWAY with no stream processed and no error.
pub(crate) const CALL_REFUSAL: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // GOAWAY
];

#[derive(Debug)]
pub(crate) enum FrameError {
    /// The stream failed, or ended inside the frame.
    Io,
    /// The announced length is over the limit; nothing was allocated.
    Oversize,
    /// The length is no minimal varint of at most [`LENGTH_BYTES_MAX`] bytes.
    Malformed,
}

impl From<io::Error> for FrameError {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

/// Waits for the first byte of a frame; `None` if the stream ends instead.
pub(crate) async fn begin<R: AsyncRead + Unpin>(from: &mut R) -> Result<Option<u8>, FrameError> {
    let mut byte = [0];
    let count = from.read(&mut byte).await?;
    Ok((count == 1).then_some(byte[0]))
}

/// Reads the rest of a frame whose first byte is known.
pub(crate) async fn finish<R: AsyncRead + Unpin>(
    from: &mut R,
    first: u8,
    max: usize,
) -> Result<Bytes, FrameError> {
    let length = length(from, first).await?;
    if length > max {
        return Err(FrameError::Oversize);
    }
    let mut body = Vec::with_capacity(length.min(FIRST_BYTES));
    let count = from.take(length as u64).read_to_end(&mut body).await?;
    if count < length {
        return Err(FrameError::Io);
    }
    Ok(body.into())
}

/// Reads a whole frame; `None` if the stream ends before it begins.
pub(crate) async fn read<R: AsyncRead + Unpin>(
    from: &mut R,
    max: usize,
) -> Result<Option<Bytes>, FrameError> {
    match begin(from).await? {
        Some(first) => finish(from, first, max).await.map(Some),
        None => Ok(None),
    }
}

async fn length<R: AsyncRead + Unpin>(from: &mut R, first: u8) -> Result<usize, FrameError> {
    let mut byte = first;
    let mut length = 0;
    for position in 0..LENGTH_BYTES_MAX {
        length |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            let minimal = byte != 0 || position == 0;
            return if minimal { Ok(length) } else { Err(FrameError::Malformed) };
        }
        if position + 1 < LENGTH_BYTES_MAX {
            let mut next = [0];
            from.read_exact(&mut next).await?;
            byte = next[0];
        }
    }
    Err(FrameError::Malformed)
}

/// Writes a frame in one piece, so that it is one Yamux frame, and flushes it.
pub(crate) async fn write<W: AsyncWrite + Unpin>(to: &mut W, body: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(body.len() + LENGTH_BYTES_MAX);
    let mut rest = body.len();
    while rest >= 0x80 {
        frame.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    frame.push(rest as u8);
    frame.extend_from_slice(body);
    to.write_all(&frame).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};

    use super::*;

    fn parse(bytes: &[u8], max: usize) -> Result<Option<Bytes>, FrameError> {
        block_on(read(&mut Cursor::new(bytes), max))
    }

    #[test]
    fn frames_come_back_as_they_were_written() {
        for size in [0, 1, 127, 128, 16_383, 16_384, 65_536] {
            let body = vec![7; size];
            let mut wire = Cursor::new(Vec::new());
            block_on(write(&mut wire, &body)).unwrap();
            let back = parse(wire.get_ref(), size).unwrap().unwrap();
            assert_eq!(back, body);
        }
    }

    #[test]
    fn an_end_before_a_frame_is_no_error_and_one_inside_it_is() {
        assert!(matches!(parse(&[], 9), Ok(None)));
        assert!(matches!(parse(&[0x80], 9), Err(FrameError::Io)));
        assert!(matches!(parse(&[5, 1, 2], 9), Err(FrameError::Io)));
    }

    #[test]
    fn lengths_are_judged_before_the_body_is_read() {
        assert!(matches!(parse(&[10], 9), Err(FrameError::Oversize)));
        assert!(matches!(parse(&[0xff, 0xff, 0x7f], 9), Err(FrameError::Oversize)));
    }

    #[test]
    fn varints_are_minimal_and_short() {
        assert!(matches!(parse(&[0x81, 0x00], 9), Err(FrameError::Malformed)));
        assert!(matches!(parse(&[0xff; 10], 9), Err(FrameError::Malformed)));
    }

    /// No bytes whatever make the reader panic or hand out more than the limit.
    #[test]
    fn arbitrary_bytes_are_safe() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000_usize {
            let bytes: Vec<u8> = (0..round % 24)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            if let Ok(Some(body)) = parse(&bytes, 16) {
                assert!(body.len() <= 16);
            }
        }
    }
}
